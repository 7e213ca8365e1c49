"""Files beside a table that none of its rows names: passed over, and counted by kind."""

from itertools import islice

import pyarrow as pa
import pyarrow.compute

from rayograph.errors import StorageError
from rayograph.ingest.sources.below import Below, kind_of
from rayograph.ingest.sources.source import Findings
from rayograph.shards.headers import printable
from rayograph.shards.pixels.decode import IMAGE_EXTENSIONS
from rayograph.storage.places import Places

_LISTED_AT_LEAST, _LISTED_A_ROW = 100_000, 4
_CHUNK = 65_536
_TURNS = r"://|^/|(^|/)\.\.?(/|$)"
"""Of names that may mean the same file as a plainer one."""


def unnamed_files(places: Places, table: str, paths: pa.Array) -> Findings:
    """Count what lies below the table's folder and is not among `paths`; a note where not all of it was looked at.

    So much is listed as there may be files of a few rows each: a table may lie above a whole bucket.
    """
    below, most = Below(places.root, places.endpoint_url), max(_LISTED_AT_LEAST, _LISTED_A_ROW * len(paths))
    files = islice(below.files(IMAGE_EXTENSIONS), most + 1)
    chunks = [pa.nulls(0, pa.large_string())]
    try:
        while keys := [printable(info.key) for info in islice(files, _CHUNK)]:
            chunks.append(pa.array(keys, pa.large_string()))
    except StorageError as error:
        return Findings(notes=(f"files that the table does not name are not counted: {error}",))
    found = pa.concat_arrays(chunks)
    for key in found.filter(pa.compute.invert(pa.compute.is_in(found, _plain(places, paths)))).to_pylist():
        below.pass_over(f"{kind_of(key)} not in {table.rpartition('/')[2]}")
    below.passed_over[kind_of(table)] -= 1
    counts = {kind: count for kind, count in below.passed_over.items() if count > 0}
    if len(found) > most:
        return Findings(counts, (f"of the images below the table {most:,} were looked at; others are not counted",))
    return Findings(counts)


def _plain(places: Places, paths: pa.Array) -> pa.Array:
    """The keys below the table's folder that paths mean."""
    turns = pa.compute.match_substring_regex(paths, _TURNS).fill_null(False)
    if not pa.compute.any(turns).as_py():
        return paths
    keys = [places.key_below(name) for name in paths.filter(turns).to_pylist()]
    return pa.concat_arrays([paths.filter(pa.compute.invert(turns)), pa.array(keys, pa.large_string())])
