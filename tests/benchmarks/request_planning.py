"""One side of bench_12, a process that does one thing to a request and says how long it took and what it held.

`make` writes the request; `plan` checks and plans it; `read` is the naive way, the whole table in memory; `open`
finds units and images in a committed plan.
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from rayograph.conditioning.class_label import ClassLabelConditioner
from rayograph.config import Request, Sample
from rayograph.runs.artifact import Artifact
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.sampling.requests.plan import Plan, open_plan
from rayograph.sampling.requests.planner import plan_request
from rayograph.storage import open_store

SPEC = ModelSpec(ClassLabelConditioner(1000, tuple(f"class {number}" for number in range(1000))), 256, 32, 1000)
UNIT, PART, LOOKS = 64, 100_000, 50


def part(first: int, rows: int) -> pa.Table:
    """Rows of a request: a class, a seed, some guidance, two sizes and a prompt that is carried along."""
    numbers = np.arange(first, first + rows)
    scales = np.where(numbers % 10 == 0, 1.0, 1.5)
    return pa.table(
        {
            "class": numbers * 7919 % 1000,
            "seed": numbers,
            "guidance_scale": scales,
            "width": np.where(numbers % 4 == 0, 512, 256),
            "height": np.full(rows, 256),
            "prompt": [f"a photo of thing {number}, by a window, in the morning" for number in numbers.tolist()],
        }
    )


def make(path: Path, rows: int) -> None:
    """In parts, as whoever writes so many would."""
    parts = (part(first, min(PART, rows - first)) for first in range(0, rows, PART))
    if path.suffix == ".jsonl":
        with path.open("w") as file:
            for table in parts:
                file.writelines(json.dumps(row) + "\n" for row in table.to_pylist())
        return
    first = next(parts)
    writer = pa.csv.CSVWriter if path.suffix == ".csv" else pa.parquet.ParquetWriter
    with writer(str(path), first.schema) as file:
        file.write_table(first)
        for table in parts:
            file.write_table(table)


def planned(path: Path, target: Artifact) -> Plan:
    """As the stage does it."""
    declared = Sample(request=Request(uri=str(path), keep=("prompt",)), unit_size=UNIT)
    return plan_request(target, declared, 0, SPEC, None)


def looked_up(target: Artifact) -> dict[str, float]:
    """Milliseconds: median of many for a unit and an image, each of them elsewhere; the last prompt takes a scan."""
    began = time.perf_counter()
    plan = open_plan(target)
    assert plan is not None
    samples, units = plan.total_samples, plan.total_units
    found = {"open": time.perf_counter() - began}
    draw = random.Random(0)

    def median(look: Callable[[int], Any], among: int) -> float:
        times = []
        for _ in range(LOOKS):
            number, began = draw.randrange(among), time.perf_counter()
            look(number)
            times.append(time.perf_counter() - began)
        return sorted(times)[LOOKS // 2]

    found["unit"] = median(lambda number: plan.draws(plan.unit(number)), units)
    found["image"] = median(plan.place, samples)
    began = time.perf_counter()
    numbers = plan.find({"prompt": f"thing {samples - 1},"}, limit=1)
    found["prompt"] = time.perf_counter() - began
    assert numbers == [samples - 1], numbers
    return {name: 1e3 * seconds for name, seconds in found.items()}


def memory(name: str) -> int:
    """Bytes of this process: VmRSS now, or VmHWM, the most since it was cleared."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) << 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--do", choices=("make", "plan", "read", "open"), required=True)
    parser.add_argument("--request", type=Path, required=True)
    parser.add_argument("--target", default="/nowhere")
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    target = Artifact(open_store(options.target), str(options.seed))
    Path("/proc/self/clear_refs").write_text("5")  # the highest memory counts from here
    before, began, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    found: dict[str, float] = {}
    match options.do:
        case "make":
            make(options.request, options.rows)
        case "plan":
            found["samples"] = planned(options.request, target).total_samples
        case "read":
            found["samples"] = len(pa.parquet.read_table(options.request))
        case "open":
            found = looked_up(target)
    found |= {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    print(json.dumps(found | {"grown": memory("VmHWM") - before}))


if __name__ == "__main__":
    main()
