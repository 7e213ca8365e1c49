"""Pages of a request: rows that were checked, every default filled in, as parquet in the artifact.

Shapes: n rows.
"""

import io
from collections.abc import Mapping
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
_LARGEST_DICTIONARY = 1 << 30


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
        self, wanted: Mapping[str, str | int], seed: int | None, job_seed: int, start: int, limit: int
    ) -> np.ndarray:
        """Numbers of the first samples from `start` on, of the rows that fit: `limit`, or all there are."""
        fits = self.first + self.count > start
        for column, value in wanted.items():
            fits &= fitting(self.rows, column, value)
        if seed is not None:
            fits &= to_array(self.seed.fill_null(pa.scalar(job_seed, pa.uint64()))) == np.uint64(seed)
        first = np.maximum(self.first[fits], start)
        count = np.minimum(self.first[fits] + self.count[fits] - first, limit)
        enough = int(np.searchsorted(np.cumsum(count), limit)) + 1  # rows: one alone may ask for 10⁹ samples
        first, count = first[:enough], count[:enough]
        within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        return (np.repeat(first, count) + within)[:limit]


def fitting(rows: pa.RecordBatch | pa.Table, column: str, value: str | int) -> np.ndarray:
    """(n,) bool: rows whose column, or what is kept so, is the number or holds the text, in any case of letters.

    Rows without such a column do not fit, nor do files.
    """
    name = next((name for name in (column, f"{KEEP}{column}") if name in rows.schema.names), None)
    held = None if name is None else rows.schema.field(name).type
    text = held is not None and (pa.types.is_string(held) or pa.types.is_large_string(held))
    if text and isinstance(value, str):
        return to_array(pc.match_substring(rows[name], value, ignore_case=True).fill_null(False))
    if held is not None and pa.types.is_integer(held) and isinstance(value, int):
        return to_array(pc.equal(rows[name], value).fill_null(False))
    return np.zeros(rows.num_rows, bool)


def page_bytes(table: pa.Table) -> bytes:
    """The same bytes for the same rows; files that rows share lie there once."""
    buffer = io.BytesIO()
    files = any(pa.types.is_dictionary(kind) and pa.types.is_binary(kind.value_type) for kind in table.schema.types)
    # A dictionary that grows beyond the limit is given up, and every row has its own copy then.
    pq.write_table(table, buffer, compression="zstd", dictionary_pagesize_limit=_LARGEST_DICTIONARY if files else None)
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
