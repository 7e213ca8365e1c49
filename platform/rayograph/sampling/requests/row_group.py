"""Pages of a request: rows that were checked, every default filled in, as parquet in the artifact.

Shapes: n rows.
"""

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rayograph.conditioning.member_columns import to_array, whole
from rayograph.errors import DataError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256
from rayograph.sampling.requests.sample_batch import KEEP

_PAGES_KEPT = 4


@dataclass(frozen=True)
class Page:
    """`first` is the number of a row's first sample, `count` how many it has, `group` theirs: (n,) int64.

    `seed` (n,) is uint64, null where the job's counts. `rows` are all other columns, as `SampleBatch` has them.
    """

    first: np.ndarray
    count: np.ndarray
    group: np.ndarray
    seed: pa.Array
    rows: pa.RecordBatch

    def matching(
        self, prompt: str | None, class_number: int | None, seed: int | None, job_seed: int, start: int, limit: int
    ) -> np.ndarray:
        """Numbers of the first samples from `start` on, of the rows that fit: `limit`, or all there are."""
        fits = self.first + self.count > start
        there = self.rows.schema.names
        if prompt is not None:
            name = f"{KEEP}prompt"
            fits &= (
                to_array(pc.match_substring(self.rows[name], prompt, ignore_case=True).fill_null(False))
                if name in there
                else False
            )
        if class_number is not None:
            fits &= to_array(self.rows["class"]) == class_number if "class" in there else False
        if seed is not None:
            fits &= to_array(self.seed.fill_null(pa.scalar(job_seed, pa.uint64()))) == np.uint64(seed)
        first = np.maximum(self.first[fits], start)
        count = np.minimum(self.first[fits] + self.count[fits] - first, limit)
        enough = int(np.searchsorted(np.cumsum(count), limit)) + 1  # rows: one alone may ask for 10⁹ samples
        first, count = first[:enough], count[:enough]
        within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        return (np.repeat(first, count) + within)[:limit]


def page_bytes(table: pa.Table) -> bytes:
    """The same bytes for the same rows."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


@lru_cache(maxsize=_PAGES_KEPT)
def read_page(artifact: Artifact, name: str, digest: str) -> Page:
    """Raises DataError for one whose bytes are not those once written."""
    data = artifact.read(name)
    if sha256(data) != digest:
        raise DataError(f"{artifact.uri}/{name}: expected sha256 {digest}, got {sha256(data)}")
    # Not by pq.read_table: one of its threads that lets go of Python's bytes while the interpreter ends would abort it.
    with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
        table = file.read(use_threads=False).combine_chunks()
    first, count, group = (to_array(table[name]) for name in ("first", "count", "group"))
    names = [column for column in table.column_names if column not in ("first", "count", "group", "seed")]
    rows = pa.RecordBatch.from_arrays([whole(table[column]) for column in names], names)
    return Page(first, count, group, whole(table["seed"]), rows)
