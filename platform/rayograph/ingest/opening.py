"""An artifact opened by whoever wants to look inside: its samples as a webdataset pipeline, or as a Ray data set."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from webdataset import DataPipeline, FluidWrapper, split_by_node, split_by_worker

from rayograph.errors import DataError
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import TRAIN, Manifest
from rayograph.shards.committed import Shards
from rayograph.shards.rows import Rows
from rayograph.shards.shard_index import ShardIndex
from rayograph.storage import Access, open_store

if TYPE_CHECKING:
    import ray.data

BLOCK_BYTES = 32 << 20
"""About what is read at once: bytes of members, of whole samples."""


@dataclass(frozen=True)
class OpenArtifact:
    """A committed artifact. Samples are read as stages read them: checked against the manifest, none that is left out.

    A class is a number, also where its members hold names: `manifest.facts["class_names"]` has these in order.
    """

    artifact: Artifact
    manifest: Manifest
    access: Access = None

    @property
    def splits(self) -> list[str]:
        """Its splits, such as train and held_out; none for an artifact without shards."""
        return sorted({shard.split for shard in self.manifest.shards})

    def webdataset(self, split: str = TRAIN) -> FluidWrapper:
        """Return a pipeline of samples as webdataset has them: `__key__`, `__url__`, and bytes by extension.

        Go on as with a `WebDataset`: .shuffle(1000).decode("rgb").to_tuple("png", "cls"). Nodes and the workers of a
        DataLoader get shards of their own. Raises DataError for a split that it does not have.
        """
        shards = self._shards(split)
        return FluidWrapper(
            DataPipeline(partial(_urls, shards), split_by_node, split_by_worker, partial(_samples, shards))
        )

    def ray_data(self, split: str = TRAIN) -> "ray.data.Dataset":
        """Return a data set of a row a sample: `key`, and bytes in a column an extension, null where there are none.

        A shard is a read task. Raises DataError for a split that it does not have.
        """
        from ray.data import read_datasource

        from rayograph.ingest.ray_datasource import EachItem

        shards = self._shards(split)
        return read_datasource(EachItem(shards.names, partial(_tables, shards)), override_num_blocks=len(shards.names))

    def _shards(self, split: str) -> Shards:
        records = self.manifest.split(split)
        if not records:
            known = f"expected one of {', '.join(self.splits)}" if self.splits else "expected an artifact with samples"
            raise DataError(f"{self.artifact.uri}: split: {known}, got {split!r}")
        return Shards.of(self.artifact, self.manifest, records, self.access)


def open_artifact(uri: str, access: Access = None) -> OpenArtifact:
    """Open the artifact at `uri`. Raises DataError where none is committed, StorageError where nothing can be read."""
    artifact = Artifact(open_store(uri, access), "")
    return OpenArtifact(artifact, artifact.committed(), access)


def _urls(shards: Shards) -> Iterator[dict[str, str]]:
    return ({"url": name} for name in shards.names)


def _samples(shards: Shards, urls: Iterator[dict[str, str]]) -> Iterator[dict[str, str | bytes]]:
    for url in urls:
        for rows in _blocks(shards, url["url"]):
            for sample in rows.samples():
                yield {"__key__": sample.key, "__url__": rows.uri, **sample.members}


def _tables(shards: Shards, name: str) -> Iterator[pa.Table]:
    for rows in _blocks(shards, name):
        members = {
            extension: pa.array([rows.member(row, extension) for row in range(len(rows))], pa.large_binary())
            for extension in rows.members
        }
        yield pa.table({"key": pa.array(rows.keys, pa.string()), **members})


def _blocks(shards: Shards, name: str) -> Iterator[Rows]:
    index = shards.index(name)
    bounds = _bounds(index)
    for start, end in pairwise(bounds):
        yield shards.rows(name, index, range(start, end))


def _bounds(index: ShardIndex) -> list[int]:
    """Where blocks of about `BLOCK_BYTES` begin, and the end: samples of 20, 20 and 20 MiB are cut to [0, 2, 3]."""
    sizes = np.zeros(len(index), np.int64)
    for members in index.members.values():
        sizes += np.maximum(members.sizes, 0)
    block = (np.cumsum(sizes) - sizes) // BLOCK_BYTES
    return [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(index)] if len(index) else []
