"""Generation on one device, from seeds to stored files: our sampler against diffusers, as it comes and compiled.

Every side guides, decodes and encodes the same number of images as PNG in as many steps. Ours draws at the batch size
that it measures, encodes while the next unit is drawn, and puts shards that are on the disk (fsync) before they count;
each image carries its record, as XMP too. The peer draws a batch a call and saves a file an image. Before anything is
timed, both draw a few samples from the same noise in float32, and must agree within 1 of 255.

Without a GPU the digits job's networks in float32, by one thread on every side; with one an LDM-4 for classes at 256²,
in bf16, whose peer computes in bf16 too, as diffusers' pipelines do; at the end ours draws 10,000 (LONG=0 leaves that
out). `IMAGES` changes how many a round draws. Weights are fresh: they cost what trained ones do.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers_loop import Pipeline
from generating import commit_model, draw_units, planned
from harness import Row, alternate, record, row
from torch.utils.flop_counter import FlopCounterMode

from rayograph.config import Autoencoder, Denoiser, NoiseSchedule, Sample, Sampler, TrainingScale
from rayograph.config.reading.files import load_job
from rayograph.models.model_folder import load_schedule
from rayograph.runs.artifact import Artifact
from rayograph.sampling.batch_size import measured_batch
from rayograph.sampling.pipeline import DiffusionModel
from rayograph.sampling.requests.plan import Plan
from rayograph.storage import open_store
from rayograph.training.engine.peak import peak_flops

NAME = "bench_10_generation"
REPOSITORY = Path(__file__).parent.parent.parent
UNIT = 128
MANY = 10_000
CHECKED = 4
SPACING = "trailing"
"""The one that diffusers has too, exactly: the same loop on both sides."""


@dataclass(frozen=True)
class Case:
    """A model, what is drawn from it, and the peer's batch, a usual one."""

    name: str
    autoencoder: Autoencoder
    denoiser: Denoiser
    schedule: NoiseSchedule
    side: int
    sampler: Sampler
    images: int
    device: str
    precision: str
    goals: tuple[str, str, str] = ("", "", "")
    """Ours compiled against the peer as it comes, against it compiled, and against the limit."""
    peer_batch: int = 32


def digits() -> Case:
    """The demo's networks."""
    stages = load_job(str(REPOSITORY / "jobs" / "digits.py")).stages
    second = stages["train_diffusion"]
    return Case(
        "digits at 32², CPU, fp32",
        stages["train_autoencoder"].network,
        second.network,
        second.noise_schedule,
        stages["pack"].image_size,
        stages["sample"].sampler.model_copy(update={"spacing": SPACING}),
        int(os.environ.get("IMAGES", "256")),
        "cpu",
        "fp32",
    )


def ldm_4() -> Case:
    """The paper's, f = 4 (Rombach et al. 2022, table 12)."""
    return Case(
        "LDM-4 at 256², bf16",
        Autoencoder(),
        Denoiser(
            num_classes=1000,
            block_out_channels=(224, 448, 672, 896),
            layers_per_block=2,
            attention_levels=(1, 2, 3),
            attention_head_dim=32,
        ),
        NoiseSchedule(),
        256,
        Sampler(num_inference_steps=20, guidance_scale=1.5, spacing=SPACING),
        int(os.environ.get("IMAGES", "512")),
        "cuda",
        "bf16",
        ("≥ 3×", "≥ 1.3×", "≥ 50 %"),
    )


class Ours:
    """The sampler as a replica runs it, without Serve."""

    def __init__(self, case: Case, model: Artifact, folder: str, compiled: bool) -> None:
        self.case, self.source, self.folder, self.compiled = case, model, folder, compiled
        self.model = DiffusionModel.load(model, case.device, case.precision, compiled)
        self.__name__ = "ours, compiled" if compiled else "ours"
        plan = self._planned("first", UNIT)
        self.batch_size = measured_batch(self.model, plan.draws(plan.unit(0)))
        self.store(UNIT, "first")

    def _planned(self, name: str, images: int) -> Plan:
        self.target = Artifact(open_store(self.folder), f"{self.__name__}/{name}")
        declared = Sample(num_samples=images, sampler=self.case.sampler, unit_size=UNIT)
        return planned(self.target, self.source, declared, 0)

    def store(self, images: int, name: str) -> None:
        plan = self._planned(name, images)
        with ThreadPoolExecutor(1 if self.case.device == "cpu" else os.cpu_count()) as encoders:
            units = map(plan.unit, range(plan.total_units))
            draw_units(self.model, self.target, plan, units, self.batch_size, encoders, self.compiled)

    def __call__(self, number: int) -> tuple[float, float]:
        return timed(partial(self.store, self.case.images, str(number)))


class Theirs:
    """diffusers, at a batch of `batch_size`."""

    def __init__(self, case: Case, model: Artifact, folder: str, compiled: bool, batch_size: int) -> None:
        self.case, self.folder, self.batch_size = case, Path(folder), batch_size
        dtype = torch.bfloat16 if case.precision == "bf16" else torch.float32
        self.pipeline = Pipeline(model.uri, load_schedule(model), case.sampler, case.device, dtype, compiled)
        self.__name__ = "diffusers, compiled" if compiled else "diffusers"
        self.store(2 * batch_size, "first")

    def store(self, images: int, name: str) -> None:
        folder = self.folder / self.__name__ / name
        self.pipeline.generate(folder, images, self.case.denoiser.num_classes, self.batch_size)

    def __call__(self, number: int) -> tuple[float, float]:
        return timed(partial(self.store, self.case.images, str(number)))


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds; every side ends with pixels on the host, so a GPU has nothing left to do."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - cpu


def agree(case: Case, source: Artifact) -> None:
    """Both sides in float32 from the same noise: the same images."""
    torch.backends.cudnn.allow_tf32 = False
    model = DiffusionModel.load(source, case.device)
    numbers = torch.arange(CHECKED)
    noise, classes = model.noise(0, numbers), numbers % case.denoiser.num_classes
    ours = model.sample_loop(noise, {"class": classes}, case.sampler)[0].numpy()
    pipeline = Pipeline(source.uri, load_schedule(source), case.sampler, case.device, torch.float32)
    theirs = np.stack([np.asarray(image) for image in pipeline(classes.tolist(), latents=noise.first())])
    torch.backends.cudnn.allow_tf32 = True
    apart = np.abs(ours.astype(int) - theirs).max()
    assert apart <= 1, apart
    assert ours.std() > 5, "one grey"


def flops_an_image(case: Case, source: Artifact) -> float:
    """2 a multiply-add, over the whole loop and the decoder."""
    model = DiffusionModel.load(source, case.device, case.precision)
    numbers = torch.arange(1)
    with FlopCounterMode(display=False) as counter:
        model.sample_loop(model.noise(0, numbers), {"class": numbers}, case.sampler)
    return counter.get_total_flops()


def measure(case: Case, folder: str) -> list[Row]:
    """All sides in turn, in every round."""
    source = commit_model(f"{folder}/model", case.autoencoder, case.denoiser, case.schedule, case.side)
    agree(case, source)
    flops = flops_an_image(case, source)
    peak = peak_flops(TrainingScale(precision=case.precision))
    limit = f"{peak / flops:,.1f} images/s by matrix products"
    starts: dict[str, float] = {}

    def started(side: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        made = side(case, source, folder, *arguments)
        starts[made.__name__] = time.perf_counter() - began
        print(f"  {made.__name__}: ready in {starts[made.__name__]:.1f} s", file=sys.stderr, flush=True)
        return made

    eager, compiled = (started(Ours, flag) for flag in (False, True))
    peers = [started(Theirs, False, case.peer_batch), started(Theirs, True, compiled.batch_size)]
    found = alternate(eager, compiled, *peers)
    rates = [[case.images / wall for wall, _ in side] for side in found]
    cpu = [[seconds / case.images for _, seconds in side] for side in found]
    titles = [f"diffusers' loop, batch {case.peer_batch}", f"diffusers' loop compiled, batch {compiled.batch_size}"]
    steps = case.sampler.num_inference_steps
    name = f"{case.name}, {steps} steps guided, PNG stored"
    as_it_comes, ours_compiled = f"{name}; ours at batch {eager.batch_size}", f"{name}; ours compiled"
    pairs = [(as_it_comes, 0, 2, ""), (ours_compiled, 1, 2, case.goals[0]), (ours_compiled, 1, 3, case.goals[1])]
    rows = [
        row(NAME, label, "images/s", titles[peer - 2], rates[ours], rates[peer], goal=goal, limit=limit,
            cpu=cpu[ours], peer_cpu=cpu[peer])
        for label, ours, peer, goal in pairs
    ]  # fmt: skip
    for side, label in ((0, as_it_comes), (1, ours_compiled)):
        share = [100 * rate * flops / peak for rate in rates[side]]
        rows.append(row(NAME, f"{label}: of the limit", "%", "–", share, None, goal=case.goals[2] if side else ""))
    for ours, theirs in (("ours", "diffusers"), ("ours, compiled", "diffusers, compiled")):
        case_name = f"{case.name}: loaded, warm and its first images stored ({ours}, batch size measured)"
        rows.append(row(NAME, case_name, "s", theirs, [starts[ours]], [starts[theirs]], less_is_better=True))
    if case.device == "cuda" and os.environ.get("LONG") != "0":
        wall, _ = timed(partial(compiled.store, MANY, "many"))
        rows.append(row(NAME, f"{ours_compiled}: {MANY:,} images", "images/s", "–", [MANY / wall], None, limit=limit))
    return rows


def main() -> None:
    """The one case that this machine can do."""
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        torch.set_num_threads(1)
    folder = tempfile.mkdtemp(prefix="rayograph-bench-")
    try:
        record(f"{NAME}_gpu" if on_gpu else NAME, measure(ldm_4() if on_gpu else digits(), folder))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
