"""Freezing a request of ten million rows: every row checked, then planned, from parquet, JSON lines and CSV.

There is no peer: batch tools draw from lists that they hold. What stands beside ours is the naive way, the whole file
as a table in memory (`pyarrow.parquet.read_table`), which has checked and planned nothing by then. Memory is the most
that the process held beyond what it held before it began, each in a process of its own, and beside it ours at 10⁵ rows:
it should not grow with them. In the end another process opens the plan and finds units and images. `ROWS` changes how
many.
"""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness import ROUNDS, Row, record, row
from sides import Side

NAME = "bench_12_request"
ROWS, FEW = int(os.environ.get("ROWS", "10000000")), 100_000
FORMATS = {"parquet": ROWS, "csv": ROWS // 10, "jsonl": ROWS // 10}
"""Rows of each. CSV and JSON lines are read by Python, row by row, and ten times as many take minutes a round."""
TITLES = {"parquet": "parquet", "csv": "CSV", "jsonl": "JSON lines"}
NAIVE = "pyarrow.parquet.read_table"


def side(do: str, request: Path, *arguments: str) -> Side:
    return Side(f"{do} {request.name}", "request_planning.py", ("--do", do, "--request", str(request), *arguments),
                sys.executable)  # fmt: skip


def one(kind: str, folder: Path) -> list[Row]:
    """Requests of one format: planned, and as parquet read whole as well, in turn."""
    total = FORMATS[kind]
    found: dict[str, list[dict[str, Any]]] = {"few": [], "many": [], "read": []}
    requests = {name: folder / f"{name}.{kind}" for name in ("few", "many")}
    for name, rows in (("few", FEW), ("many", total)):
        side("make", requests[name], "--rows", str(rows))(0)
    for number in range(ROUNDS):
        print(f"  round {number + 1} of {ROUNDS}: {kind}", file=sys.stderr, flush=True)
        for name, request in requests.items():
            found[name].append(side("plan", request, "--target", str(folder / f"{name}-{kind}"))(number))
        if kind == "parquet":
            found["read"].append(side("read", requests["many"])(number))
    assert {entry["samples"] for entry in found["many"]} == {total}
    seconds, grown = ({name: [entry[what] for entry in entries] for name, entries in found.items()}
                      for what in ("seconds", "grown"))  # fmt: skip
    mebibytes = {name: [bytes / 2**20 for bytes in entries] for name, entries in grown.items()}
    case = f"{total:,} rows of {TITLES[kind]}, {requests['many'].stat().st_size / 1e6:,.0f} MB"
    cpu = [entry["cpu_seconds"] / total for entry in found["many"]]
    peer, theirs = (NAIVE, found["read"] and seconds["read"]) if kind == "parquet" else ("–", None)
    rows = [
        row(NAME, f"{case}: checked and planned", "s", peer, seconds["many"], theirs, less_is_better=True, cpu=cpu),
        row(NAME, f"{case}: memory while it is", "MiB", f"ours at {FEW:,} rows", mebibytes["many"], mebibytes["few"],
            goal="flat", less_is_better=True),
    ]  # fmt: skip
    if kind == "parquet":
        rows.append(row(NAME, f"{case}: memory while it is", "MiB", NAIVE, mebibytes["many"], mebibytes["read"],
                        less_is_better=True))  # fmt: skip
    for request in requests.values():
        request.unlink()
    return rows


def looked_up(folder: Path) -> list[Row]:
    """In the plan of the parquet file, each time by another process."""
    target = str(folder / "many-parquet")
    found = [side("open", folder / "gone", "--target", target)(number) for number in range(ROUNDS)]
    titles = {
        "open": "opened",
        "unit": "a unit's samples found",
        "image": "an image's place found",
        "prompt": "the last image found by its prompt, a scan of all",
    }
    return [
        row(NAME, f"plan of {ROWS:,} rows: {title}", "ms", "–", [entry[what] for entry in found], None)
        for what, title in titles.items()
    ]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="rayograph-bench-") as name:
        folder = Path(name)
        rows = [found for kind in FORMATS for found in one(kind, folder)]
        record(NAME, rows + looked_up(folder))


if __name__ == "__main__":
    main()
