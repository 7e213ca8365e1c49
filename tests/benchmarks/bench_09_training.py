"""A training step of denoisers: our learner against diffusers' training loop and DeepSpeed as it comes.

Every side noises the same moments, predicts, goes back, steps and averages: ours through `DiffusionLearner` under
ZeRO 2, diffusers' as its unconditional training script does (`add_noise`, `mse_loss`, AdamW, `EMAModel`), DeepSpeed's
with the same loss under ZeRO 2 and no average. Ours draws posterior, noise and timesteps by position; the peers call
`randn`.

On a CPU small networks and their ratio only. With a GPU the paper's LDM-4 and LDM-8 U-Nets too, in bf16, and the share
of the measured matrix-product rate.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))  # the tests' worker processes

import numpy as np
import torch
import torch.nn.functional as F
from harness import ROUNDS, record, row
from workers import spawn

from rayograph.config import Denoiser, TrainDiffusion, TrainingScale
from rayograph.models.specs import LatentShape

NAME = "bench_09_training"
Step = Callable[[], None]


@dataclass(frozen=True)
class Case:
    """A denoiser, its latents and its batch."""

    name: str
    network: Denoiser
    channels: int
    size: int
    batch: int
    steps: int
    precision: str = "fp32"
    goals: tuple[str, str] = ("", "")
    """Against diffusers, against DeepSpeed."""


SMALL = Denoiser(block_out_channels=(64, 64), layers_per_block=1, norm_num_groups=16, mid_block_attention=False)
NARROW = Denoiser(
    block_out_channels=(16, 16, 16, 16),
    layers_per_block=6,
    norm_num_groups=8,
    attention_levels=(1, 2, 3),
    attention_head_dim=8,
)
"""As many weights as the paper's, hardly any arithmetic: what small networks on a fast GPU are like."""
LDM_4 = Denoiser(
    block_out_channels=(224, 448, 672, 896), layers_per_block=2, attention_levels=(1, 2, 3), attention_head_dim=32
)
LDM_8 = Denoiser(block_out_channels=(256, 512, 1024), layers_per_block=2, attention_levels=(0, 1, 2))
ON_CPU = [
    Case("digits U-Net, batch 32, CPU", SMALL, 3, 8, 32, 8),
    Case("narrow U-Net of many weights, batch 2, CPU", NARROW, 3, 8, 2, 5),
]
ON_GPU = [
    Case("LDM-4 U-Net, batch 32, bf16", LDM_4, 3, 64, 32, 20, "bf16", ("≥ 2.3×", "")),
    Case("LDM-8 U-Net, batch 32, bf16", LDM_8, 4, 32, 32, 20, "bf16", ("≥ 2.3×", "≥ 2.5×")),
    Case("LDM-8 U-Net, batch 128, bf16", LDM_8, 4, 32, 128, 20, "bf16", ("≥ 2.3×", "")),
]


def recipe(case: Case) -> TrainDiffusion:
    return TrainDiffusion(
        network=case.network, total_images=10**9, global_batch_size=case.batch, lanes=1, gradient_clipping=1.0
    )


def moments(case: Case) -> Iterator[np.ndarray]:
    """New ones at every step, as data would be."""
    draw = np.random.default_rng(0)
    while True:
        yield draw.standard_normal((case.batch, 2 * case.channels, case.size, case.size), dtype=np.float32)


def ours(case: Case) -> Step:
    """The learner, as the training loop calls it."""
    from rayograph.models.normalisation import LatentNormalisation
    from rayograph.shards.batch import Batch
    from rayograph.training.diffusion_learner import DiffusionLearner

    scale = TrainingScale(workers=1, micro_batch_size=case.batch, zero_stage=2, precision=case.precision)
    unit = LatentNormalisation((0.0,) * case.channels, (1.0,) * case.channels)
    learner = DiffusionLearner(recipe(case), scale, 0, unit, LatentShape(case.channels, case.size))
    data, seen = moments(case), 0

    def step() -> None:
        nonlocal seen
        learner.step(Batch(np.arange(seen, seen + case.batch), {"moments": next(data)}), seen)
        seen += case.batch

    return step


def peer(case: Case, minimise: Callable[[Any, Any], Callable[[Callable[[], torch.Tensor]], None]]) -> Step:
    """What both peers share: network, schedule, loss."""
    from rayograph.models.denoiser import build_denoiser
    from rayograph.models.schedule import build_schedule
    from rayograph.training.workers import device

    network = build_denoiser(case.network, case.channels, case.size).diffusers_model().to(device())
    schedule = build_schedule(recipe(case).noise_schedule)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)
    run, data = minimise(network, optimiser), moments(case)

    def loss() -> torch.Tensor:
        given = torch.from_numpy(next(data)).to(device())
        mean, logvar = given.chunk(2, dim=1)
        latents = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        noise = torch.randn_like(latents)
        timesteps = torch.randint(0, 1000, (case.batch,), device=device())
        bf16 = case.precision == "bf16"
        with torch.autocast(device().type, torch.bfloat16, enabled=bf16):
            prediction = network(schedule.add_noise(latents, noise, timesteps), timesteps).sample
        return F.mse_loss(prediction.float(), noise)

    return lambda: run(loss)


def diffusers_loop(case: Case) -> Step:
    """As its training scripts: AdamW, clipping at 1, EMAModel."""
    from diffusers.training_utils import EMAModel

    def minimise(network: Any, optimiser: Any) -> Callable[[Callable[[], torch.Tensor]], None]:
        average = EMAModel(network.parameters(), decay=0.9999)

        def run(loss: Callable[[], torch.Tensor]) -> None:
            value = loss()
            value.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            average.step(network.parameters())
            value.item()  # its scripts log the loss of every step

        return run

    return peer(case, minimise)


def deepspeed_as_it_comes(case: Case) -> Step:
    """ZeRO 2 over the same network, no average."""

    def minimise(network: Any, optimiser: Any) -> Callable[[Callable[[], torch.Tensor]], None]:
        import deepspeed

        engine: Any
        engine, *_ = deepspeed.initialize(
            model=network,
            optimizer=optimiser,
            config={
                "train_micro_batch_size_per_gpu": case.batch,
                "gradient_clipping": 1.0,
                "zero_allow_untested_optimizer": True,
                "zero_optimization": {"stage": 2},
                "steps_per_print": 2**62,
            },
        )

        def run(loss: Callable[[], torch.Tensor]) -> None:
            value = loss()
            engine.backward(value)
            engine.step()
            value.item()

        return run

    return peer(case, minimise)


SIDES = {"ours": ours, "diffusers": diffusers_loop, "deepspeed": deepspeed_as_it_comes}


def work(rank: int, workers: int, out: str) -> None:
    """Every case: all sides in turn, in every round; the median step's seconds, and CPU seconds."""
    from rayograph.training.engine.peak import peak_flops
    from rayograph.training.estimate import diffusion_cost

    found: dict[str, Any] = {}
    for case in ON_CPU + (ON_GPU if torch.cuda.is_available() else []):
        sides = {name: make(case) for name, make in SIDES.items()}
        seconds: dict[str, list[list[float]]] = {name: [] for name in sides}
        for _ in range(ROUNDS):
            for name, step in sides.items():
                times = []
                for number in range(2 + case.steps):
                    began, cpu = time.perf_counter(), time.process_time()
                    step()
                    if number >= 2:
                        times.append((time.perf_counter() - began, time.process_time() - cpu))
                seconds[name].append([statistics.median(part) for part in zip(*times, strict=True)])
        flops = case.batch * diffusion_cost(recipe(case), LatentShape(case.channels, case.size)).flops
        found[case.name] = {
            "seconds": seconds,
            "flops": flops,
            "peak": peak_flops(TrainingScale(precision=case.precision)),
        }
        del sides
    Path(out).write_text(json.dumps(found))


def main() -> None:
    """Two rows a case, and the share of the matrix-product rate."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(work, 1, f"{folder}/found.json")
        found = json.loads(Path(folder, "found.json").read_text())
    rows = []
    for case in ON_CPU + ON_GPU:
        if case.name not in found:
            continue
        seconds = found[case.name]["seconds"]
        rate = {name: [case.batch / entry[0] for entry in rounds] for name, rounds in seconds.items()}
        cpu = {name: [entry[1] / case.batch for entry in rounds] for name, rounds in seconds.items()}
        limit = found[case.name]["peak"] / (found[case.name]["flops"] / case.batch)
        titles = {"diffusers": "diffusers' training loop", "deepspeed": "DeepSpeed ZeRO 2 as it comes"}
        for (name, title), goal in zip(titles.items(), case.goals, strict=True):
            rows.append(
                row(NAME, case.name, "images/s", title, rate["ours"], rate[name], goal=goal, cpu=cpu["ours"],
                    peer_cpu=cpu[name], limit=f"{limit:,.0f} images/s by matrix products")
            )  # fmt: skip
    record(NAME, rows)


if __name__ == "__main__":
    main()
