"""Indexing one tar that others made: its sidecar, made or found, and what the manifest needs of it."""

import json
from dataclasses import dataclass, replace
from typing import TypedDict, cast

import numpy as np

from rayograph.config import Scale
from rayograph.errors import DataError, MissingObjectError
from rayograph.json_types import Json
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import FileRecord
from rayograph.shards.classes import Classes, as_fact, classes_in, from_fact
from rayograph.shards.scan import CLASSES, PASSED_OVER, scan_shard
from rayograph.shards.shard_index import ShardIndex, index_name
from rayograph.shards.spot_check import still_holds
from rayograph.shards.store import fetch_rows
from rayograph.storage import open_store


@dataclass(frozen=True)
class Shard:
    """A tar below the folder; `size` in bytes."""

    name: str
    size: int
    split: str


@dataclass(frozen=True)
class Folder:
    """Where the tars lie, and where their sidecars and the manifest go: mostly the same place."""

    tars: Artifact
    artifact: Artifact

    @staticmethod
    def open(uri: str, to: str | None, scale: Scale) -> "Folder":
        tars = Artifact(open_store(uri, scale.access), "")
        return Folder(tars, tars if to is None else Artifact(open_store(to, scale.access), ""))

    @property
    def base_uri(self) -> str | None:
        """What the manifest says of where the tars lie."""
        return None if self.tars == self.artifact else self.tars.uri

    def sidecar(self, name: str) -> tuple[str, str]:
        """Key and address of a shard's sidecar."""
        key = self.artifact.key(index_name(name))
        return key, self.artifact.store.uri_of(key)


class IndexedFile(TypedDict):
    """A file as a manifest lists it."""

    path: str
    bytes: int
    sha256: str


class IndexedShard(TypedDict):
    """What the manifest needs of one shard: the tar and its sidecar, and what was found in it."""

    files: list[IndexedFile]
    samples: int
    rejected: list[dict[str, str]]
    passed_over: dict[str, int]
    classes: Json


def index_shard(folder: Folder, again: bool, shard: Shard) -> bytes:
    """Makes one shard's sidecar, or finds it made; what the manifest needs of it, as JSON."""
    index, data = _sidecar(folder, shard, again)
    uri = folder.tars.store.uri_of(folder.tars.key(shard.name))
    tar = FileRecord(path=shard.name, bytes=index.size, sha256=index.sha256)
    told: IndexedShard = {
        "files": [_listed(tar), _listed(folder.artifact.record(index_name(shard.name), data))],
        "samples": len(index),
        "rejected": [bad | {"reason": f"{uri}: {bad['reason']}"} for bad in index.rejected],
        "passed_over": cast(dict[str, int], index.facts.get(PASSED_OVER, {})),
        "classes": as_fact(_classes_of(folder.tars, shard.name, index) or Classes(len(index), None, [])),
    }
    return json.dumps(told).encode()


def _listed(file: FileRecord) -> IndexedFile:
    return {"path": file.path, "bytes": file.bytes, "sha256": file.sha256}


def _sidecar(folder: Folder, shard: Shard, again: bool) -> tuple[ShardIndex, bytes]:
    """The sidecar that is there, where it is whole and still holds; else a new one.

    Raises DataError for a damaged one, unless `again`.
    """
    key, uri = folder.sidecar(shard.name)
    try:
        data = folder.artifact.store.read(key)
    except MissingObjectError:
        index, data = _scanned(folder, shard)
        folder.artifact.store.put_if_absent(key, data)
        return index, data
    try:
        index = ShardIndex.from_bytes(data, uri)
        holds = _has_images(index) and still_holds(folder.tars, shard.name, index, shard.size)
        if holds and _classes_of(folder.tars, shard.name, index) is not None:
            return index, data
    except DataError as error:
        if not again:
            raise DataError(f"{error}: --again makes it anew") from error
    index, data = _scanned(folder, shard)
    folder.artifact.store.put(key, data)
    return index, data


def _scanned(folder: Folder, shard: Shard) -> tuple[ShardIndex, bytes]:
    from rayograph.shards.pixels.decode import EXTENSIONS  # and torch: where nothing is read, nothing waits for it

    index = scan_shard(folder.tars.store, folder.tars.key(shard.name), EXTENSIONS)
    return index, index.to_bytes()


def _has_images(index: ShardIndex) -> bool:
    from rayograph.shards.pixels.decode import EXTENSIONS

    there = np.zeros(len(index), bool)
    for extension in EXTENSIONS:
        if extension in index.members:
            there |= index.members[extension].sizes >= 0
    return bool(there.all())


def _classes_of(tars: Artifact, name: str, index: ShardIndex) -> Classes | None:
    """As the scan found them; from the members themselves where the sidecar is of `pack`.

    None where a sample's class is none: a scan leaves that sample out.
    """
    known = from_fact(index.facts.get(CLASSES))
    if known is not None:
        return known
    if not len(index) or "cls" not in index.members:
        return Classes(len(index), None, [])
    rows = fetch_rows(tars, name, replace(index, members={"cls": index.members["cls"]}), range(len(index)))
    try:
        return classes_in(rows.member(row, "cls") for row in range(len(rows)))
    except ValueError:
        return None
