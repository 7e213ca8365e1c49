"""`rayograph trace IMAGE`: which model, data, request and seed an image file comes from, and whether that holds.

The file alone says it (its XMP, and its C2PA manifest where it has one); a store adds the artifact and all that it was
made from; and drawing the image again shows that the record is the truth.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from rayograph.errors import ConfigError, DataError
from rayograph.runs.artifact import RESOLVED, Artifact
from rayograph.runs.digests import sha256
from rayograph.runs.lineage import LineageNode, ancestors, data_sets
from rayograph.runs.manifest import Manifest
from rayograph.runs.terminal.console import LABEL_CELLS, escaped, padded, plain
from rayograph.sampling.marking.c2pa import credentials_in
from rayograph.sampling.marking.record import record_in
from rayograph.shards.pixels.decode import render
from rayograph.storage import Access, ObjectStore, open_store

PLAN = "request/plan.json"
ROUNDING, LOSSY_ROUNDING = 1, 8
"""Of 255: what another batch, or another machine, makes of an image; more is another image. JPEG and WebP turn one step
of a pixel into several."""

_PNG = b"\x89PNG"
_FIRST = ("artifact", "number", "seed", "counter", "class", "prompt", "negative_prompt")
_LAST = ("model", "data", "request")


@dataclass(frozen=True)
class TraceOptions:
    """What to look into beside the file: a store, drawing it again, and where to put what was drawn."""

    store: str | None = None
    again: bool = False
    to: str | None = None


def trace(uri: str, endpoint_url: Access, options: TraceOptions) -> Iterator[str]:
    """Yield what is known of the image at `uri`, a local path or a URI, a line each.

    Raises DataError for an image without a record, and, once everything is said, where the store disagrees with the
    record; ConfigError for what cannot be asked.
    """
    if options.again and options.store is None:
        raise ConfigError("--again: expected --store URI too, whose model and request draw the image")
    if options.to is not None and not options.again:
        raise ConfigError("--to: expected --again too, which draws what is written there")
    target = None if options.to is None else _place(options.to, endpoint_url)
    if target is not None:
        target[0].check_access()
    store, key = _place(uri, endpoint_url)
    data = store.read(key)
    record = record_in(data, uri)
    yield from _said_by(record)
    yield _line("credentials", _credentials(data, uri))
    problems: list[str] = []
    if options.store is not None:
        artifact = Artifact(open_store(options.store, endpoint_url), _text(record, "artifact", uri))
        yield from _in_store(artifact, record, endpoint_url, problems)
        if options.again:
            yield from _drawn_again(artifact, record, data, uri, endpoint_url, target, problems)
    if problems:
        raise DataError(f"{uri}: differs from what the store says: {'; '.join(problems)}")


def _said_by(record: Mapping[str, object]) -> Iterator[str]:
    between = sorted(key for key in record if key not in (*_FIRST, *_LAST))
    for key in (*_FIRST, *between, *_LAST):
        if key in record:
            said = record[key]
            for value in said if key == "data" and isinstance(said, list) else [said]:
                yield _line(key, value)


def _credentials(data: bytes, uri: str) -> str:
    try:
        found = credentials_in(data, uri)
    except ConfigError as error:
        return f"not looked at: {error}"
    except DataError as error:
        return str(error)
    if found is None:
        return "none"
    who = f"signed by {found.issuer} ({found.common_name}), {found.algorithm}"
    if not found.valid:
        return f"{who}: NOT VALID: {', '.join(found.problems)}"
    return f"{who}: valid, " + ("and trusted here" if found.trusted else "by an issuer that is in no trust list here")


def _in_store(
    artifact: Artifact, record: Mapping[str, object], endpoint_url: Access, problems: list[str]
) -> Iterator[str]:
    """Yield the artifact and everything it was made from; what differs from the record is added to `problems`."""
    manifest = artifact.manifest()
    if manifest is None:
        begun = artifact.store.exists(artifact.key(RESOLVED))
        yield _line("store", f"{artifact.uri}  {'begun, not committed' if begun else 'nothing there'}")
        return
    yield _line("store", f"{artifact.uri}  committed {manifest.created}, {manifest.samples:,} samples")
    found = ancestors(artifact, endpoint_url)
    for node in found:
        yield _line(node.manifest.stage, f"{node.uri}  digest {node.manifest.digest}")
    differences = list(_differences(record, artifact, manifest, found))
    problems += differences
    yield _line("digests", "; ".join(differences) if differences else "the record's and the store's are the same")


def _differences(
    record: Mapping[str, object], artifact: Artifact, manifest: Manifest, found: list[LineageNode]
) -> Iterator[str]:
    """Yield what the store holds otherwise than the record says, and what changed since something was made from it."""
    held = {
        "model": {parent.digest for parent in manifest.parents if parent.input == "model"},
        "data": data_sets(found, but=artifact),
        "request": {sha256(artifact.read(PLAN))} if artifact.store.exists(artifact.key(PLAN)) else set(),
    }
    for key, digests in held.items():
        said = record.get(key, [])
        if set(map(str, said if isinstance(said, list) else [said])) != digests:
            yield f"{key}: the record says {_shown(said or None)}, the store {_shown(sorted(digests) or None)}"
    now = {node.uri: node.manifest.digest for node in found}
    for node in found:
        for parent, place in zip(node.manifest.parents, node.parents, strict=True):
            if now[place.uri] != parent.digest:
                yield f"{node.uri}: was made from {place.uri} when that was {parent.digest}, it is {now[place.uri]}"


def _drawn_again(
    artifact: Artifact,
    record: Mapping[str, object],
    data: bytes,
    uri: str,
    endpoint_url: Access,
    target: tuple[ObjectStore, str] | None,
    problems: list[str],
) -> Iterator[str]:
    """Draw the image anew; pixels that differ are added to `problems`."""
    from rayograph.sampling.reproduce import draw_again

    number = record.get("number")
    if not isinstance(number, int):
        raise DataError(f"{uri}: expected its record to have a number, got {number!r}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    _, encoded, _ = draw_again(artifact, number, endpoint_url, device)
    difference, largest = _difference(render(encoded, "the image drawn again"), render(data, uri))
    yield _line("again", difference)
    if largest > (ROUNDING if data.startswith(_PNG) else LOSSY_ROUNDING):
        problems.append(f"drawn again, {difference}")
    if target is not None:
        store, key = target
        store.put(key, encoded)
        yield _line("to", store.uri_of(key))


def _difference(drawn: np.ndarray, given: np.ndarray) -> tuple[str, int]:
    """Return how pixels differ, and by how much at most, as files hold them: encoders lose the same in both."""
    if drawn.shape != given.shape:
        sizes = [f"{pixels.shape[1]} × {pixels.shape[0]}" for pixels in (drawn, given)]
        return f"drawn {sizes[0]}, the file is {sizes[1]}", 255
    difference = np.abs(drawn.astype(np.int16) - given)
    largest = int(difference.max())
    if not largest:
        return "the same pixels", 0
    share = (difference.max(axis=2) > 0).mean()
    return f"pixels differ by up to {largest} of 255, in {share:.2%} of them", largest


def _place(uri: str, endpoint_url: Access) -> tuple[ObjectStore, str]:
    """Return the folder of a file, and its name."""
    folder, slash, name = uri.rpartition("/")
    if not name or folder.endswith(":/"):
        raise ConfigError(f"{uri!r}: expected a file, such as image.png or s3://bucket/image.png")
    return open_store(folder or ("/" if slash else "."), endpoint_url), name


def _text(record: Mapping[str, object], key: str, uri: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value:
        raise DataError(f"{uri}: expected its record to name its {key}, got {_shown(value)}")
    return value


def _line(label: str, value: object) -> str:
    """Return a label and a value, both from anywhere: quoted and escaped where a terminal should not see them."""
    shown = value if isinstance(value, str) and plain(value) else _shown(value)
    return f"{padded(escaped(label), LABEL_CELLS)} {shown}"


def _shown(value: object) -> str:
    return escaped(json.dumps(value, ensure_ascii=False))
