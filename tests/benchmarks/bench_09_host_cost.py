"""What a training step costs the host beside the arithmetic: a network of 700 small weights, every ZeRO stage.

A U-Net has about as many. On a fast GPU a small network's step is bound by this. One worker, one thread, a batch of 4:
next to no arithmetic. Sides: our engine (one moving average included), DeepSpeed as it comes with torch's AdamW (no
average), and plain torch, with AdamW and an average by its own swa_utils.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))  # the tests' worker processes

import torch
from harness import ROUNDS, record, row
from torch import Tensor, nn
from workers import spawn

NAME = "bench_09_host_cost"
LAYERS, WIDTH, BATCH, STEPS, WARM_UP = 350, 16, 4, 20, 3


class Many(nn.Module):
    """350 layers of two weights each."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))

    def forward(self, values: Tensor) -> Tensor:
        for layer in self.layers:
            values = values + 0.01 * layer(values)
        return values.square().mean()


class Pass(nn.Module):
    """The same, as an engine wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.many = Many()

    def forward(self, values: Tensor) -> tuple[Tensor, None]:
        return self.many(values), None


def plain() -> Callable[[Tensor], None]:
    """torch alone, with an average of the weights."""
    network = Many()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
    )

    def step(values: Tensor) -> None:
        network(values).backward()
        optimiser.step()
        optimiser.zero_grad()
        average.update_parameters(network)

    return step


def ours(stage: int) -> Callable[[Tensor], None]:
    """Our engine."""
    from rayograph.training.checkpoints.averages import ConstantDecay
    from rayograph.training.engine.engine import Engine, EngineSettings

    engine = Engine(Pass(), EngineSettings(BATCH, 1, stage, (0.9, 0.999), 1e-8, 0.01, None, (ConstantDecay(0.99),)))
    number = 0

    def step(values: Tensor) -> None:
        nonlocal number
        engine.schedule(1e-4, number)
        engine.minimise([(values,)])
        number += 1

    return step


def deepspeed_as_it_comes(stage: int) -> Callable[[Tensor], None]:
    """Its own loop: forward, backward, step."""
    import deepspeed

    network = Many()
    engine: Any
    engine, *_ = deepspeed.initialize(
        model=network,
        optimizer=torch.optim.AdamW(network.parameters(), lr=1e-4),
        config={
            "train_micro_batch_size_per_gpu": BATCH,
            "zero_allow_untested_optimizer": True,
            "zero_optimization": {"stage": stage},
            "steps_per_print": 2**62,
        },
    )

    def step(values: Tensor) -> None:
        engine.backward(engine(values))
        engine.step()

    return step


def work(rank: int, workers: int, out: str) -> None:
    """All sides in turn, in every round: the median step of each, in milliseconds of wall time and of CPU."""
    values = torch.randn(BATCH, WIDTH)
    sides = {"plain": plain()}
    for stage in range(4):
        sides |= {f"ours {stage}": ours(stage), f"deepspeed {stage}": deepspeed_as_it_comes(stage)}
    found: dict[str, list[list[float]]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, step in sides.items():
            times = []
            for number in range(WARM_UP + STEPS):
                began, cpu = time.perf_counter(), time.process_time()
                step(values)
                if number >= WARM_UP:
                    times.append((1e3 * (time.perf_counter() - began), time.process_time() - cpu))
            found[name].append([statistics.median(part) for part in zip(*times, strict=True)])
    Path(out).write_text(json.dumps(found))


def main() -> None:
    """A row for each stage and peer."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(work, 1, f"{folder}/found.json")
        found = json.loads(Path(folder, "found.json").read_text())
    wall = {name: [entry[0] for entry in rounds] for name, rounds in found.items()}
    cpu = {name: [entry[1] for entry in rounds] for name, rounds in found.items()}
    limit = f"plain torch {statistics.median(wall['plain']):.1f} ms"
    rows = []
    for stage in range(4):
        for peer, title in ((f"deepspeed {stage}", "DeepSpeed as it comes, no average"), ("plain", "plain torch")):
            rows.append(
                row(NAME, f"ZeRO {stage}, a step of {2 * LAYERS} small weights", "ms", title, wall[f"ours {stage}"],
                    wall[peer], goal="near plain torch" if peer == "plain" else "", limit=limit,
                    cpu=cpu[f"ours {stage}"], peer_cpu=cpu[peer], less_is_better=True)
            )  # fmt: skip
    record(NAME, rows)


if __name__ == "__main__":
    main()
