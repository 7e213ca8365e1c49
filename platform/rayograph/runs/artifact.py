"""An artifact: a folder in a store that one stage fills, and that counts once its manifest is there.

<store>/<job>/<stage>/<key>/job.yaml         the resolved job and profile, written when work starts
                            manifest.json    the commit
                            …                shards/, model/, checkpoints/, metrics.jsonl, report.html
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from rayograph.errors import DataError, MissingObjectError
from rayograph.runs.digests import sha256
from rayograph.runs.manifest import FileRecord, Manifest
from rayograph.storage import ObjectStore

MANIFEST = "manifest.json"
METRICS = "metrics.jsonl"
REPORT = "report.html"
RESOLVED = "job.yaml"

COPY_BYTES = 64 << 20
"""Of a file that is copied, so many are in memory at a time."""


@dataclass(frozen=True)
class Artifact:
    """One artifact's place, whether anything is there yet or not. Cheap to make, and travels to workers."""

    store: ObjectStore
    path: str

    @property
    def uri(self) -> str:
        return self.store.uri_of(self.path) if self.path else self.store.uri

    def key(self, name: str) -> str:
        """Return the store's key of a file of this artifact."""
        return f"{self.path}/{name}" if self.path else name

    def manifest(self) -> Manifest | None:
        """Read the commit; None while there is none. Raises DataError for one that cannot be read."""
        key = self.key(MANIFEST)
        if not self.store.exists(key):
            return None
        try:
            return Manifest.model_validate_json(self.store.read(key))
        except ValidationError as error:
            first = error.errors()[0]
            said = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
            raise DataError(
                f"{self.store.uri_of(key)}: not a manifest of format 1: {' '.join(said.split())[:300]}"
            ) from error

    def committed(self) -> Manifest:
        """Read the commit. Raises DataError where there is none."""
        manifest = self.manifest()
        if manifest is None:
            raise DataError(f"{self.uri}: expected a committed artifact, found no {MANIFEST}")
        return manifest

    def commit(self, manifest: Manifest) -> Manifest:
        """Make the artifact count; the first of two racing commits stands, and is returned."""
        data = manifest.model_dump_json(indent=1).encode()
        if self.store.put_if_absent(self.key(MANIFEST), data):
            return manifest
        return self.committed()

    def record(self, name: str, data: bytes | memoryview) -> FileRecord:
        """Return what the manifest says of a file with these bytes."""
        return FileRecord(path=name, bytes=len(data), sha256=sha256(data))

    def write(self, name: str, data: bytes | memoryview) -> FileRecord:
        """Put a file, replacing one of that name."""
        self.store.put(self.key(name), data)
        return self.record(name, data)

    def read(self, name: str) -> bytes:
        return self.store.read(self.key(name))

    def names(self, prefix: str = "") -> list[str]:
        """List the files below `prefix`, relative to the artifact."""
        start = len(self.key(""))
        return [info.key[start:] for info in self.store.list(self.key(prefix))]

    def records(self, prefix: str) -> list[FileRecord]:
        """Record every file below `prefix`, read back from the store and hashed: what it holds, not what was meant."""
        return [self.record(name, self.read(name)) for name in self.names(prefix)]

    def copy(self, manifest: Manifest, prefix: str, target: Path) -> list[str]:
        """Copy every file below the folder `prefix` to `target`, and return their names there.

        Raises DataError naming a file that is not what the manifest lists: missing, changed, or one too many.
        """
        folder = f"{prefix}/"
        listed = [file for file in manifest.files if file.path.startswith(folder)]
        extra = sorted({*self.names(folder)} - {file.path for file in listed})
        if extra:
            raise DataError(f"{self.store.uri_of(self.key(extra[0]))}: not among the files that {MANIFEST} lists")
        for file in listed:
            self._copy(file, target / file.path.removeprefix(folder))
        return [file.path.removeprefix(folder) for file in listed]

    def _copy(self, file: FileRecord, target: Path) -> None:
        key = self.key(file.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        found = hashlib.sha256()
        try:
            size = self.store.size(key)
            with target.open("wb") as out:
                for start in range(0, size, COPY_BYTES):
                    data = self.store.read_range(key, start, min(COPY_BYTES, size - start))
                    found.update(data)
                    out.write(data)
        except MissingObjectError:
            size = None
        if problem := _difference(file, size, found.hexdigest):
            raise DataError(f"{self.store.uri_of(key)}: {problem}")

    def problems(self, manifest: Manifest, tars: "Artifact | None" = None) -> Iterator[str]:
        """Yield every way in which the store differs from the manifest, one line each; nothing if all is well.

        `tars` is where those lie, if not here.
        """
        tars = tars or self
        places = {True: tars, False: self}
        listed = {place: {info.key: info.size for info in place.store.list(place.key(""))} for place in {tars, self}}

        def check(file: FileRecord) -> str | None:
            place = places[file.path.endswith(".tar")]
            key = place.key(file.path)
            problem = _difference(file, listed[place].get(key), lambda: sha256(place.store.read(key)))
            return problem and f"{place.store.uri_of(key)}: {problem}"

        with ThreadPoolExecutor(8) as pool:
            yield from (problem for problem in pool.map(check, manifest.files) if problem)
        known = {file.path for file in manifest.files}
        yield from (
            f"{self.uri}: shard {shard.path} is not among the files"
            for shard in manifest.shards
            if shard.path not in known
        )


def _difference(file: FileRecord, size: int | None, digest: Callable[[], str]) -> str | None:
    """Return how what is there differs from what was committed; the digest is asked for last."""
    if size is None:
        return "missing"
    if size != file.bytes:
        return f"expected {file.bytes} bytes, found {size}"
    return None if digest() == file.sha256 else "sha256 differs from the manifest's"
