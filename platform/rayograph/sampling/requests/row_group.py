"""Pages of a request: rows that were checked, every default filled in, as parquet in the artifact.

Shapes: n rows.
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rayograph.errors import DataError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256

KEEP = "keep."
"""Before the names of columns that are only carried along."""

_PAGES_KEPT = 4


@dataclass(frozen=True)
class Page:
    """Columns (n,) int64, but for `has_seed`, bool, and `guidance_scale`, float64.

    `first` is the number of a row's first sample, `seed` the bits of uint64.
    """

    first: np.ndarray
    count: np.ndarray
    group: np.ndarray
    seed: np.ndarray
    has_seed: np.ndarray
    guidance_scale: np.ndarray
    classes: np.ndarray | None
    kept: dict[str, pa.Array]

    def matching(
        self, prompt: str | None, class_number: int | None, seed: int | None, job_seed: int, start: int, limit: int
    ) -> np.ndarray:
        """Numbers of the first samples from `start` on, of the rows that fit: `limit`, or all there are."""
        fits = self.first + self.count > start
        if prompt is not None:
            texts = self.kept.get("prompt")
            fits &= (
                False
                if texts is None
                else pc.match_substring(texts, prompt, ignore_case=True).fill_null(False).to_numpy(zero_copy_only=False)
            )
        if class_number is not None:
            fits &= False if self.classes is None else self.classes == class_number
        if seed is not None:
            fits &= np.where(self.has_seed, self.seed.astype(np.uint64), np.uint64(job_seed)) == np.uint64(seed)
        first = np.maximum(self.first[fits], start)
        count = np.minimum(self.first[fits] + self.count[fits] - first, limit)
        enough = int(np.searchsorted(np.cumsum(count), limit)) + 1  # rows: one alone may ask for 10⁹ samples
        first, count = first[:enough], count[:enough]
        within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        return (np.repeat(first, count) + within)[:limit]


def page_bytes(columns: dict[str, Any]) -> bytes:
    """The same bytes for the same rows."""
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    return buffer.getvalue()


@lru_cache(maxsize=_PAGES_KEPT)
def read_page(artifact: Artifact, name: str, digest: str) -> Page:
    """Raises DataError for one whose bytes are not those once written."""
    data = artifact.read(name)
    if sha256(data) != digest:
        raise DataError(f"{artifact.uri}/{name}: expected sha256 {digest}, got {sha256(data)}")
    # Not by pq.read_table: one of its threads that lets go of Python's bytes while the interpreter ends would abort it.
    with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
        table = file.read(use_threads=False)
    columns = {column: table[column].combine_chunks() for column in table.column_names}
    columns = {c: pa.concat_arrays(v.chunks) if isinstance(v, pa.ChunkedArray) else v for c, v in columns.items()}
    seeds = columns.pop("seed")
    arrays = {n: columns.pop(n).to_numpy(zero_copy_only=False) for n in ("first", "count", "group", "guidance_scale")}
    classes = columns.pop("class", None)
    return Page(
        **arrays,
        seed=seeds.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64),
        has_seed=seeds.is_valid().to_numpy(zero_copy_only=False),
        classes=None if classes is None else classes.to_numpy(zero_copy_only=False),
        kept={name.removeprefix(KEEP): values for name, values in columns.items()},
    )
