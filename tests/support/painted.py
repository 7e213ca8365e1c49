"""A store with a committed model, and a painter in the coordinator's place: jobs run in a thread, without networks."""

import hashlib
import io
import json
import threading
import time
from base64 import b64decode
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from rayograph.conditioning.class_label import ClassLabelConditioner
from rayograph.conditioning.form import FormField
from rayograph.config import Job, Scale
from rayograph.config.reading.files import load_job
from rayograph.pipeline.resolve import resolve
from rayograph.runs.artifact import RESOLVED, Artifact
from rayograph.runs.stage_result import StageResult, commit
from rayograph.sampling.job_state import JobState, wanted, write_state
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.shards.sample import Sample
from rayograph.shards.store import put_shard, shard_files, shard_name
from rayograph.storage import ObjectStore, open_store

CLASSES = ["zero", "one", "two", "three"]
PLAN = "request/rows.json"
DIGITS = str(Path(__file__).parents[2] / "jobs" / "digits.py")


def new_store(folder: Path) -> ObjectStore:
    """Every stage of the digits up to the model committed, with nothing in them."""
    store = open_store(str(folder))
    stages = resolve(load_job(DIGITS), Scale(store=store.uri), store)
    for name in ("pack", "train_autoencoder", "encode", "train_diffusion"):
        stages[name].artifact.write(RESOLVED, stages[name].described())
        commit(stages[name], StageResult(facts={"class_names": CLASSES}), 0.0)
    return store


def model_name(store: ObjectStore) -> str:
    return resolve(load_job(DIGITS), Scale(store=store.uri), store)["train_diffusion"].artifact.path


@dataclass(frozen=True)
class RowsPlan:
    """The seam's side of a plan: samples in a list, cut into units."""

    samples: list[dict]
    unit_size: int

    @property
    def total_samples(self):
        return len(self.samples)

    def place(self, number):
        return divmod(number, self.unit_size)

    def condition(self, number, column):
        said = self.samples[number].get(column)
        return b64decode(said.partition(",")[2]) if isinstance(said, str) and said.startswith("data:") else said

    def find(self, wanted, seed=None, start=0, limit=100):
        def holds(said, value):
            return value in (said or "") if isinstance(value, str) else said == value

        def fits(sample):
            said = all(holds(sample.get(column), value) for column, value in wanted.items())
            return said and (seed is None or sample["seed"] == seed)

        numbers = range(start, len(self.samples))
        return [number for number in numbers if fits(self.samples[number])][:limit]


class Painting(ClassLabelConditioner):
    """Classes, and whatever else a form can ask for; what is painted depends on the class alone."""

    def __init__(self, *more: FormField) -> None:
        super().__init__(len(CLASSES), tuple(CLASSES))
        self.more = more

    def form(self):
        return (*super().form(), *self.more)


WORDS = FormField("prompt", "text", required=False, most=4096)


def read_spec(*more: FormField):
    """The seam's side of a model, which has no folder to be read from."""
    return lambda model, manifest: ModelSpec(Painting(*more), side=48, multiple=4, num_train_timesteps=1000)


def open_plan(artifact):
    if not artifact.store.exists(artifact.key(PLAN)):
        return None
    said = json.loads(artifact.read(PLAN))
    return RowsPlan(said["samples"], said["unit_size"])


def plan_of(store: ObjectStore, job: Job) -> RowsPlan:
    declared = job.stages["sample"]
    if declared.request is None:
        samples = [{"class": n % len(CLASSES), "seed": job.seed, "counter": n} for n in range(declared.num_samples)]
        return RowsPlan(samples, declared.unit_size)
    text = store.read(declared.request.uri.removeprefix(f"{store.uri}/")).decode()
    samples = []
    for row in map(json.loads, text.splitlines()):
        if isinstance(row.get("class"), str):
            row["class"] = CLASSES.index(row["class"])
        count = row.pop("count", 1)
        samples += [{"seed": job.seed, **row, "counter": counter} for counter in range(count)]
    return RowsPlan(samples, declared.unit_size)


def paint(sample: dict, side: int) -> bytes:
    """A PNG that its seed, counter and class decide: light laid over a dark ground."""
    draws = np.random.default_rng([sample["seed"], sample["counter"], sample.get("class", 0)])
    y, x = np.mgrid[:side, :side] / side
    pixels = np.full((side, side, 3), 12.0)
    for _ in range(3 + sample.get("class", 0)):
        cx, cy, r, tone = draws.uniform(0.1, 0.9), draws.uniform(0.1, 0.9), draws.uniform(0.08, 0.3), draws.random(3)
        pixels += ((x - cx) ** 2 + (y - cy) ** 2 < r**2)[..., None] * (90 + 90 * tone)
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


class Painter:
    """Starts each job once, unless it is told to be idle, and looks at what is asked of it between two units."""

    def __init__(self, store: ObjectStore, seconds_per_unit: float = 0.0, side: int = 48, idle: bool = False) -> None:
        self.store, self.seconds_per_unit, self.side, self.idle = store, seconds_per_unit, side, idle
        self.started: list[str] = []
        self.allowed_units = float("inf")  # of a job; it waits for more
        self.spoilt: set[int] = set()  # numbers that come out otherwise when they are drawn again
        self._threads: dict[str, threading.Thread] = {}

    def start(self, artifact: Artifact, job: Job, target: str) -> None:
        self.started.append(artifact.path)
        thread = self._threads.get(artifact.path)
        if self.idle or (thread is not None and thread.is_alive()):
            return
        thread = self._threads[artifact.path] = threading.Thread(
            target=self.run, args=(artifact, job, target), daemon=True
        )
        thread.start()

    def join(self) -> None:
        for thread in self._threads.values():
            thread.join(60)

    def run(self, artifact: Artifact, job: Job, target: str) -> None:
        stage = resolve(job, Scale(store=self.store.uri), self.store)[target]
        plan = plan_of(self.store, job)
        artifact.write(PLAN, json.dumps({"samples": plan.samples, "unit_size": plan.unit_size}).encode())
        units = -(-plan.total_samples // plan.unit_size)
        outcome, started = StageResult(facts={"class_names": CLASSES}), time.monotonic()
        for unit in range(units):
            while (asked := wanted(artifact)) == "paused":
                say(artifact, plan, unit, "paused")
                time.sleep(0.05)
            if asked == "cancelled":
                say(artifact, plan, unit, "cancelled")
                return
            say(artifact, plan, unit, "running", images_per_second=12.5, seconds_left=2.0, replicas=2)
            time.sleep(self.seconds_per_unit)
            while unit >= self.allowed_units:
                time.sleep(0.02)
            numbers = range(unit * plan.unit_size, min((unit + 1) * plan.unit_size, plan.total_samples))
            samples = [self.sample(artifact, number, plan.samples[number]) for number in numbers]
            index = put_shard(artifact, shard_name("samples", unit), samples)
            outcome.add_shard(*shard_files(stage.artifact, shard_name("samples", unit), "samples", index))
        say(artifact, plan, units, "done")
        commit(stage, outcome, started)

    def sample(self, artifact: Artifact, number: int, drawn: dict) -> Sample:
        data = json.dumps(self.record(artifact, number, drawn), sort_keys=True).encode()
        return Sample(f"{number:09d}", {"png": paint(drawn, self.side), "json": data})

    def record(self, artifact: Artifact, number: int, drawn: dict) -> dict:
        common = {"width": self.side, "height": self.side, "scheduler": "ddim", "num_inference_steps": 4}
        digests = {
            name: f"sha256:{hashlib.sha256(value.encode()).hexdigest()}"
            for name, value in drawn.items()
            if isinstance(value, str) and value.startswith("data:")
        }
        return {
            "number": number,
            **drawn,
            **digests,
            **common,
            "guidance_scale": 1.5,
            "artifact": artifact.path,
            "data": ["d" * 64],
        }

    def draw_again(self, artifact, number):
        drawn = open_plan(artifact).samples[number]
        changed = {**drawn, "counter": drawn["counter"] + 1} if number in self.spoilt else drawn
        data = paint(changed, self.side)
        return np.asarray(Image.open(io.BytesIO(data))), data, self.record(artifact, number, drawn)


def say(artifact, plan, units, phase, **more):
    total = -(-plan.total_samples // plan.unit_size)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    told = {
        "samples": min(units * plan.unit_size, plan.total_samples),
        "total_samples": plan.total_samples,
        "units": units,
        "total_units": total,
        "started": now,
        "updated": now,
        "device_seconds": units * 1.5,
    }
    write_state(artifact, JobState(phase=phase, **told | more))
