"""A whole generation through Ray Serve against the same sampler in a bare loop: what cluster and coordinator cost.

Ours is the command `rayograph run` over a job of one stage: it starts Ray, deploys replicas of one thread each, and its
driver hands out units of 64 images. The peer is generating.py: the same draw and keep, encoding overlapped likewise, at
the same batch size, one process with one thread for each replica, units dealt out beforehand, no Ray running.

The rate is the steady one, read off the committed shards: from the first unit that completed to the last. What passes
from the command's start to its first unit is a row of its own. `REPLICAS` picks one of the cases.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from generating import commit_model
from harness import Row, alternate, record, row

from rayograph.config import Sample
from rayograph.config.reading.files import load_job
from rayograph.runs.artifact import Artifact

NAME = "bench_11_serve"
HERE = Path(__file__).parent
UNIT, BATCH = 64, 32
UNITS = int(os.environ.get("UNITS", "12"))
"""Of each replica."""
JOB = """from rayograph.config import Job, Sample
job = Job(name="bench", seed={seed}, stages={{"sample": Sample.model_validate({sample!r})}})
"""
SCALE = """store: {store}
sampling: {{replicas: {replicas}, cpus_per_replica: 0.5, threads_per_replica: 1, batch_size: {batch}}}
"""
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


class Side:
    """One way to draw a generation; gives (steady images/s, seconds to the first unit)."""

    def __init__(self, name: str, start: Callable[[int, Path], list[list[str]]], units: int, folder: str) -> None:
        self.__name__, self._start, self._units, self._folder = name, start, units, folder

    def __call__(self, number: int) -> tuple[float, float]:
        target = Path(self._folder, self.__name__, str(number))
        target.mkdir(parents=True)
        began = time.time()
        running = [
            subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for command in self._start(number, target)
        ]
        for process in running:
            _, said = process.communicate(timeout=900)
            if process.returncode:
                raise SystemExit(f"{self.__name__}: exit code {process.returncode}\n{said[-3000:]}")
        completed = sorted(path.stat().st_mtime for path in target.rglob("shards/*.index"))
        assert len(completed) == self._units, (len(completed), self._units)
        steady = (len(completed) - 1) * UNIT / (completed[-1] - completed[0])
        return steady, completed[0] - began


def compare(model: Artifact, sample: Sample, replicas: int, folder: str) -> list[Row]:
    """Through Serve and bare, in turn."""
    units = replicas * UNITS
    declared = sample.model_copy(update={"num_samples": units * UNIT, "unit_size": UNIT, "model": model.uri})
    text = declared.model_dump_json()

    def serve(number: int, target: Path) -> list[list[str]]:
        job, scale = target / "job.py", target / "scale.yaml"
        job.write_text(JOB.format(seed=number, sample=declared.model_dump(mode="json")))
        scale.write_text(SCALE.format(store=target / "store", replicas=replicas, batch=BATCH))
        return [[sys.executable, "-m", "rayograph", "run", str(job), "--on", str(scale)]]

    def bare(number: int, target: Path) -> list[list[str]]:
        options = {"--model": model.uri, "--target": target / "store", "--batch-size": BATCH, "--sample": text,
                   "--seed": number, "--step": replicas}  # fmt: skip
        given = [str(part) for pair in options.items() for part in pair]
        return [
            [sys.executable, str(HERE / "generating.py"), *given, "--first", str(first)] for first in range(replicas)
        ]

    sides = [Side(f"{way.__name__}, {replicas}", way, units, folder) for way in (serve, bare)]
    found = alternate(*sides)
    rates, starts = ([[entry[place] for entry in side] for side in found] for place in range(2))
    what = "1 replica" if replicas == 1 else f"{replicas} replicas"
    peer = "the bare loop" if replicas == 1 else f"{replicas} bare loops"
    case = f"digits at 32², {what} of one thread, units of {UNIT} images"
    return [
        row(NAME, f"{case}: first unit completed to last", "images/s", peer, *rates, goal="≥ 97 %"),
        row(NAME, f"{case}: until the first unit completed", "s", peer, *starts, less_is_better=True),
    ]


def main() -> None:
    """One replica, then two."""
    stages = load_job(str(HERE.parent.parent / "jobs" / "digits.py")).stages
    second, first = stages["train_diffusion"], stages["train_autoencoder"]
    folder = tempfile.mkdtemp(prefix="rayograph-bench-")
    try:
        side = stages["pack"].image_size
        model = commit_model(f"{folder}/model", first.network, second.network, second.noise_schedule, side)
        rows = []
        for replicas in map(int, os.environ.get("REPLICAS", "1,2").split(",")):
            rows += compare(model, stages["sample"], replicas, folder)
        record(NAME, rows)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
