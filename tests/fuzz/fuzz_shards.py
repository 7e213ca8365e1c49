"""Damaged tars, indices and manifests: each ends in an answer or in one of our errors, soon and in little memory.

    python tests/fuzz/fuzz_shards.py --tars 10000 --indices 10000 --manifests 5000 --seed 0

A case is made from (seed, kind, number) alone, so that one that fails can be made again: `--only tars:123`.
"""

import argparse
import io
import json
import random
import resource
import signal
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rayograph.commands.artifact_listing import list_artifacts
from rayograph.commands.verification import verify
from rayograph.config import WebDatasetShards
from rayograph.errors import RayographError
from rayograph.ingest.sources import open_source
from rayograph.runs.artifact import MANIFEST, Artifact
from rayograph.runs.manifest import FileRecord, Manifest, ShardRecord
from rayograph.shards.committed import Shards
from rayograph.shards.scan import scan_shard
from rayograph.shards.shard_index import ShardIndex
from rayograph.shards.spot_check import still_holds
from rayograph.shards.store import fetch_rows
from rayograph.storage import open_store

LONGEST_SECONDS = 20
MOST_BYTES = 1 << 30

NASTY = [
    *("../x.jpg", "/etc/x.jpg", "a/../../b.jpg", "./a.jpg", "././/b.jpg", "..", ".", "", "a\\..\\b.jpg", "C:x.jpg"),
    *("a//b.jpg", "s3://bucket/x.jpg", "~/x.jpg", "%2e%2e/x.jpg", "a.b.c.d.jpg", ".hidden.jpg", "__MACOSX/._x.jpg"),
    *("nul\0byte.jpg", "new\nline.jpg", "\x1b[31m.jpg", "caf\udce9.jpg", "\u202egpj.exe", "x" * 300 + ".jpg", "x.pkl"),
    *("__x__/y.jpg", "x.cls", "x.json", "x.txt", "x.JPG", "x.seg.png", "x.npy"),
]
CONTENTS = [
    *(b"", b"7", b"cat", b"-1", b"9" * 40, b"\xff\xfe", b"nan", b"1e999", b"x" * 700),
    *(b'{"caption": ["a", "b"]}', b'{"x": 1e999}', b'{"x": NaN}', b"[" * 3000, b'{"t": "\\ud800"}', b"{", b"null"),
]


def a_tar(draw: random.Random) -> bytes:
    """A sound tar, of odd names and contents now and then."""
    buffer = io.BytesIO()
    made = draw.choice([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    with tarfile.open(fileobj=buffer, mode="w", format=made) as tar:
        for number in range(draw.randint(0, 6)):
            for extension in draw.sample(["jpg", "cls", "txt", "json", "png", "npy"], draw.randint(1, 4)):
                name = draw.choice(NASTY) if draw.random() < 0.1 else f"{number:05}.{extension}"
                data = draw.choice(CONTENTS) if draw.random() < 0.4 else draw.randbytes(draw.randint(0, 900))
                header = tarfile.TarInfo(name)
                header.size = len(data)
                if draw.random() < 0.05:
                    header.type = draw.choice([b"1", b"2", b"3", b"5", b"6", b"S", b"Z", b"\0"])
                    header.linkname = "../elsewhere"
                try:
                    tar.addfile(header, io.BytesIO(data))
                except (ValueError, UnicodeError):  # no name of this format
                    continue
    return buffer.getvalue()


def an_index(draw: random.Random) -> tuple[bytes, bytes]:
    """A tar and its index."""
    with tempfile.TemporaryDirectory() as folder:
        while True:
            data = a_tar(draw)
            Path(folder, "a.tar").write_bytes(data)
            try:
                return data, scan_shard(open_store(folder), "a.tar").to_bytes()
            except RayographError:
                continue


def a_manifest(index: bytes, tar: bytes) -> bytes:
    found = ShardIndex.from_bytes(index, "made")
    artifact = Artifact(open_store("/"), "")
    manifest = Manifest(
        job="fuzz", stage="index", kind="pack", key="0" * 16, seed=0, config={}, scale={}, parents=[],
        files=[FileRecord(path="a.tar", bytes=len(tar), sha256=found.sha256), artifact.record("a.index", index)],
        shards=[ShardRecord(path="a.tar", split="train", samples=len(found))],
        facts={"class_names": ["cat"], "classes": "name", "held_out": "", "rejected": [], "passed_over": {}},
        created="2026-01-01T00:00:00+00:00", seconds=1.0, machine={}, versions={},
    )  # fmt: skip
    return manifest.model_dump_json(indent=1).encode()


def mutated(draw: random.Random, data: bytes) -> bytes:
    """Some bytes changed: flipped, cut off, spliced, repeated, blown up."""
    found = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 2, 4, 16])):
        if not found:
            break
        at = draw.randrange(len(found))
        match draw.randrange(8):
            case 0 | 1:
                found[at] ^= 1 << draw.randrange(8)
            case 2:
                del found[at:]
            case 3:
                length = draw.randint(1, 600)
                found[at : at + length] = found[(start := draw.randrange(len(found))) : start + length]
            case 4:
                found[at:at] = draw.choice([b"\xff" * 8, b"\0" * 512, b"[" * 5000, b"9" * 20, draw.randbytes(9)])
            case 5:
                del found[at : at + draw.choice([1, 8, 512])]
            case 6:
                found[at : at + 8] = draw.choice([2**63 - 1, 2**62, 2**40, 2**32, 0]).to_bytes(8, "little")
            case 7:
                digits = [place for place, byte in enumerate(found[:20_000]) if 48 <= byte < 58]
                if digits:
                    at = draw.choice(digits)
                    found[at : at + 1] = draw.choice([b"9", b"-1", b"99999999999999999999", b"1e99", b'"x"', b"7" * 12])
    return bytes(found)


def headers_mended(draw: random.Random, data: bytes) -> bytes:
    """Tar headers with a field of theirs changed and the checksum set right, so that the walk goes on."""
    found = bytearray(data)
    starts = [at for at in range(0, len(found) - 511, 512) if found[at + 257 : at + 262] == b"ustar"]
    for at in draw.sample(starts, min(len(starts), draw.randint(1, 2))):
        match draw.randrange(4):
            case 0:
                size = draw.choice(
                    [b"77777777777\0", b"\x80" + b"\xff" * 11, b"\x80" + (1 << 40).to_bytes(11, "big"), b"-"]
                )
                found[at + 124 : at + 136] = size.ljust(12, b"\0")
            case 1:
                found[at + 156] = draw.choice(b"0123456789LKxXgSVM\0\xff")
            case 2:
                name = draw.choice(NASTY).encode("utf-8", "surrogateescape")[:100]
                found[at : at + 100] = name.ljust(100, b"\0")
            case 3:
                found[at + 345 : at + 500] = draw.randbytes(155)
        found[at + 148 : at + 156] = b" " * 8
        found[at + 148 : at + 156] = b"%06o\0 " % sum(found[at : at + 512])
    return bytes(found)


def try_tar(draw: random.Random, folder: Path) -> str:
    """Index it, and read it as a source."""
    data = a_tar(draw)
    change = draw.choice([mutated, headers_mended, lambda draw, data: data])
    (folder / "a.tar").write_bytes(change(draw, data))
    (folder / "a.index").unlink(missing_ok=True)
    store = open_store(str(folder))
    answers = [answer(lambda: read_all(store, scan_shard(store, "a.tar", ("jpg", "png"))))]

    def rows() -> None:
        source = open_source(WebDatasetShards(uri=str(folder)), None)
        for task in source.tasks(16, 0):
            for _ in source.rows(task):
                pass

    answers.append(answer(rows))
    return "/".join(answers)


def try_index(draw: random.Random, folder: Path) -> str:
    """Parse it, and read what it says from its tar."""
    data, index = an_index(draw)
    (folder / "a.tar").write_bytes(data)
    changed = mutated(draw, index)
    (folder / "a.index").write_bytes(changed)
    store = open_store(str(folder))

    def read() -> None:
        found = ShardIndex.from_bytes(changed, "a.index")
        still_holds(Artifact(store, ""), "a.tar", found, len(data))
        read_all(store, found)
        found.to_bytes()

    return answer(read)


def try_manifest(draw: random.Random, folder: Path) -> str:
    """List it, verify it, and read its shards."""
    data, index = an_index(random.Random(draw.randrange(8)))
    for name, held in (("a.tar", data), ("a.index", index), (MANIFEST, mutated(draw, a_manifest(index, data)))):
        (folder / name).write_bytes(held)
    store = open_store(str(folder))
    artifact = Artifact(store, "")

    def shards() -> None:
        manifest = artifact.committed()
        json.dumps([manifest.digest, manifest.samples, manifest.total_bytes])
        found = Shards.of(artifact, manifest, manifest.shards, None)
        for name in found.names:
            found.rows(name, at := found.index(name), range(len(at))).samples()

    return "/".join([answer(lambda: list(list_artifacts(store))), answer(lambda: list(verify(store))), answer(shards)])


def read_all(store: object, index: ShardIndex) -> None:
    fetch_rows(Artifact(store, ""), "a.tar", index, range(len(index))).samples()  # type: ignore[arg-type]


def answer(ask: Callable[[], object]) -> str:
    """ "ok", or which of our errors, whose message is one line that says where. Anything else escapes."""
    try:
        ask()
    except RayographError as error:
        text = str(error)
        if "\n" in text or len(text) > 20_000:  # names may be long
            raise AssertionError(f"expected one line, got {text[:400]!r}") from error
        return type(error).__name__
    return "ok"


class Hung(BaseException):
    """Not an Exception, which is one sample's rejection in places."""


TRIES = {"tars": try_tar, "indices": try_index, "manifests": try_manifest}


def run(kind: str, seed: int, numbers: range) -> Counter[str]:
    """Try cases of one kind; the answers, counted. Raises what escapes, naming the case."""
    answers: Counter[str] = Counter()

    def hung(*_: object) -> None:
        raise Hung(f"longer than {LONGEST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, hung)
    try:
        with tempfile.TemporaryDirectory() as folder:
            for number in numbers:
                signal.alarm(LONGEST_SECONDS)
                try:
                    answers[TRIES[kind](random.Random(f"{seed} {kind} {number}"), Path(folder))] += 1
                except (Exception, Hung) as error:
                    raise RuntimeError(
                        f"--only {kind}:{number} --seed {seed}: {type(error).__name__}: {error}"
                    ) from error
                finally:
                    signal.alarm(0)
    finally:
        signal.signal(signal.SIGALRM, before)
    return answers


def peak_bytes() -> int:
    """Of this process's memory, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tars", type=int, default=10_000)
    parser.add_argument("--indices", type=int, default=10_000)
    parser.add_argument("--manifests", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="KIND:NUMBER", help="this case alone")
    options = parser.parse_args()
    if options.only:
        kind, _, number = options.only.partition(":")
        print(run(kind, options.seed, range(int(number), int(number) + 1)))
        return 0
    for kind in TRIES:
        began, count = time.monotonic(), getattr(options, kind)
        answers = run(kind, options.seed, range(count))
        print(f"{count:,} {kind} in {time.monotonic() - began:.0f} s: {dict(answers.most_common())}", flush=True)
    print(f"peak memory {peak_bytes() / 2**20:,.0f} MiB")
    return int(peak_bytes() > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
