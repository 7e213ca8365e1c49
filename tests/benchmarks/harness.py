"""What every benchmark shares: rounds that alternate between us and a peer, rows of results, the table.

A benchmark measures in rounds A B A B, prints its table and writes results/<name>.json; `python
tests/benchmarks/harness.py` makes the README's table from those files.
"""

import json
import os
import platform
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rayograph.runs.environment import versions

HERE = Path(__file__).parent
RESULTS = HERE / "results"
README = HERE.parent.parent / "README.md"
ROUNDS = int(os.environ.get("ROUNDS", "5"))


@dataclass(frozen=True)
class Row:
    """One comparison. `ratio` above 1 means that ours is better, whatever the unit; `spread` is its range."""

    benchmark: str
    case: str
    unit: str
    ours: float
    peer: str
    peer_value: float | None
    ratio: float | None
    spread: tuple[float, float] | None
    goal: str
    cpu_seconds_per_unit: float | None
    peer_cpu_seconds_per_unit: float | None
    limit: str
    machine: str
    versions: dict[str, str]
    date: str


def machine() -> str:
    """Processor, cores, memory and GPU of this machine."""
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.processor())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{model}, {os.cpu_count()} cores, {memory} GiB, {gpu}"


def alternate(ours: Callable[[int], Any], *peers: Callable[[int], Any], rounds: int = ROUNDS) -> list[list[Any]]:
    """Results of each, by round: ours first, then every peer, in every round. Each gets the round's number."""
    found: list[list[Any]] = [[] for _ in range(1 + len(peers))]
    for number in range(rounds):
        for place, run in enumerate((ours, *peers)):
            found[place].append(run(number))
            print(f"  round {number + 1} of {rounds}: {getattr(run, '__name__', place)}", file=sys.stderr, flush=True)
    return found


def row(
    benchmark: str,
    case: str,
    unit: str,
    peer: str,
    ours: Sequence[float],
    theirs: Sequence[float] | None,
    *,
    goal: str = "",
    limit: str = "",
    cpu: Sequence[float] | None = None,
    peer_cpu: Sequence[float] | None = None,
    less_is_better: bool = False,
    peer_versions: dict[str, str] | None = None,
) -> Row:
    """Medians over rounds; the ratio is the median of the rounds' own ratios, if the peer did anything at all."""
    ratios = None
    if theirs is not None and all(theirs):
        ratios = sorted(b / a if less_is_better else a / b for a, b in zip(ours, theirs, strict=True))
    return Row(
        benchmark=benchmark,
        case=case,
        unit=unit,
        ours=_rounded(statistics.median(ours)),
        peer=peer,
        peer_value=None if theirs is None else _rounded(statistics.median(theirs)),
        ratio=None if ratios is None else round(statistics.median(ratios), 3),
        spread=None if ratios is None else (round(ratios[0], 3), round(ratios[-1], 3)),
        goal=goal,
        cpu_seconds_per_unit=None if cpu is None else _rounded(statistics.median(cpu)),
        peer_cpu_seconds_per_unit=None if peer_cpu is None else _rounded(statistics.median(peer_cpu)),
        limit=limit,
        machine=machine(),
        versions=versions() | (peer_versions or {}),
        date=datetime.now(UTC).date().isoformat(),
    )


def record(name: str, rows: Sequence[Row]) -> None:
    """Prints the table and writes results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print(table([asdict(row) for row in rows]))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, one line a row."""
    lines = [
        "| case | unit | ours | peer | its value | ratio (range) | goal | limit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        ratio = "" if r["ratio"] is None else f"**{r['ratio']:.2f}** ({r['spread'][0]:.2f}–{r['spread'][1]:.2f})"
        value = "" if r["peer_value"] is None else f"{r['peer_value']:,}"
        cells = (r["case"], r["unit"], f"{r['ours']:,}", r["peer"], value, ratio, r["goal"], r["limit"])
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def write_readme() -> None:
    """Puts the table of all results between the README's markers."""
    parts = []
    for path in sorted(RESULTS.glob("bench_*.json")):
        rows = json.loads(path.read_text())
        parts.append(f"`{path.stem}` ({rows[0]['machine']}; {rows[0]['date']})\n\n{table(rows)}\n")
    text = README.read_text()
    begin, end = "<!-- benchmarks -->\n", "<!-- end of benchmarks -->"
    README.write_text(re.sub(f"{begin}.*?{end}", lambda _: begin + "\n".join(parts) + end, text, flags=re.DOTALL))


if __name__ == "__main__":
    write_readme()
