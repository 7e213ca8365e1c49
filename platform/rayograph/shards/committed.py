"""The shards of a committed artifact, for reading: what its manifest lists, and nothing that differs from it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from rayograph.errors import DataError, MissingObjectError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256
from rayograph.runs.lineage import UP, tars_of
from rayograph.runs.manifest import Manifest, ShardRecord
from rayograph.shards.rows import Rows
from rayograph.shards.shard_index import ShardIndex, index_name
from rayograph.shards.store import fetch_rows
from rayograph.storage import Access

INDEXED = "index"
"""The `stage` of a manifest that `rayograph index` wrote: its tars are another's, who may change them."""

TAR = ".tar"


@dataclass(frozen=True)
class Shards:
    """Shards of an artifact, by name. It travels to workers."""

    artifact: Artifact
    """Where their indices lie."""
    names: tuple[str, ...]
    listed: tuple[tuple[str, int], ...] = ()
    """sha256 of each one's index, and its samples, as the manifest lists them; empty while no manifest does."""
    elsewhere: Artifact | None = None
    """Where the tars lie, if not beside their indices."""
    class_names: tuple[str, ...] | None = ()
    """Where members `cls` hold names, these by their numbers; None where they hold nothing of use."""

    @staticmethod
    def of(artifact: Artifact, manifest: Manifest, records: Sequence[ShardRecord], access: Access) -> "Shards":
        """Return some of a manifest's shards. Raises DataError where an indexed tar's size has changed since."""
        tars = tars_of(artifact, manifest, access)
        if manifest.stage == INDEXED or ((base := manifest.base_uri) is not None and not base.startswith(UP)):
            require_sizes(tars, manifest)
        files = {file.path: file.sha256 for file in manifest.files}
        held, names = manifest.facts.get("classes", "number"), manifest.facts.get("class_names")
        if held == "name" and not (isinstance(names, list) and names):
            raise DataError(f"{artifact.uri}: expected the names of its classes in the manifest's facts, got {names!r}")
        named = tuple(map(str, names or ())) if held == "name" else ()
        return Shards(
            artifact,
            tuple(record.path for record in records),
            tuple((_listed(artifact, files, record), record.samples) for record in records),
            None if tars == artifact else tars,
            None if held == "none" else named,
        )

    @property
    def tars(self) -> Artifact:
        """Where the tars lie."""
        return self.elsewhere or self.artifact

    def as_written(self) -> "Shards":
        """Return the same, with `cls` members as they are."""
        return replace(self, class_names=())

    def index(self, name: str) -> ShardIndex:
        """Return a shard's index. Raises DataError, naming it, unless its bytes are those that the manifest lists."""
        listed = self.listed[self._numbers[name]] if self.listed else None
        return _index(self.artifact, name, listed, self.class_names is None)

    def rows(self, name: str, index: ShardIndex, rows: Sequence[int] | np.ndarray | range) -> Rows:
        """Return the bytes of the samples at `rows` of a shard, in that order."""
        return replace(fetch_rows(self.tars, name, index, rows), class_numbers=self._class_numbers)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.names)}

    @cached_property
    def _class_numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.class_names or ())}


def require_sizes(tars: Artifact, manifest: Manifest) -> None:
    """Raise DataError, naming the first, where tars are gone or of another size than when they were indexed."""
    found = {info.key: info.size for info in tars.store.list(tars.key(""))}
    for file in manifest.files:
        size = found.get(tars.key(file.path))
        if file.path.endswith(TAR) and size != file.bytes:
            got = "none" if size is None else f"{size:,}"
            raise DataError(
                f"{tars.store.uri_of(tars.key(file.path))}: expected {file.bytes:,} bytes, as when it was indexed, got "
                f"{got}: `rayograph index --again` takes the change in"
            )


def _listed(artifact: Artifact, files: dict[str, str], record: ShardRecord) -> str:
    name = index_name(record.path)
    if name not in files:
        raise DataError(f"{artifact.uri}: expected {name} among the manifest's files, found none")
    return files[name]


@lru_cache(maxsize=64)
def _index(artifact: Artifact, name: str, listed: tuple[str, int] | None, without_classes: bool) -> ShardIndex:
    key = artifact.key(index_name(name))
    uri = artifact.store.uri_of(key)
    try:
        data = artifact.store.read(key)
        if listed is not None and sha256(data) != listed[0]:  # a network may have spoilt it
            data = artifact.store.read(key)
    except MissingObjectError as error:
        raise DataError(f"{uri}: expected the index that the manifest lists, found none") from error
    if listed is not None and sha256(data) != listed[0]:
        raise DataError(f"{uri}: sha256 differs from the manifest's: the index is damaged, or was made anew since")
    index = ShardIndex.from_bytes(data, uri)
    if listed is not None and len(index) != listed[1]:
        raise DataError(f"{uri}: expected {listed[1]:,} samples, as the manifest says, got {len(index):,}")
    if not without_classes:
        return index
    return replace(index, members={name: column for name, column in index.members.items() if name != "cls"})
