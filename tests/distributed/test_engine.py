"""The engine against plain PyTorch: ZeRO 0-3, one and two workers, accumulation, clipping, averages, loading."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from engines import settings, state
from plain import PlainTraining
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from workers import spawn

from rayograph.training.checkpoints.averages import ConstantDecay, PowerFunction

STEPS, RESUME_AT, BATCH, PIECE = 6, 3, 8, 5
RATE, CLIP = 1e-2, 0.5
AVERAGES = (ConstantDecay(0.9), ConstantDecay(0.5), PowerFunction(0.1))
# Adam divides by the root of the second moment: an epsilon far above rounding keeps directions of nothing still.
OPTIMISER = {"betas": (0.9, 0.99), "eps": 1e-4, "weight_decay": 0.01}
FORMS: dict[str, dict[str, Any]] = {
    "0": {"zero_stage": 0},
    "1": {"zero_stage": 1},
    "2": {"zero_stage": 2},
    "3": {"zero_stage": 3},
    "2, weight by weight": {"zero_stage": 2, "flat_parameters": 0},
    "3, weight by weight": {"zero_stage": 3, "flat_parameters": 0},
    "1, optimiser on the host": {"zero_stage": 1, "offload_optimizer": True},
    "2, optimiser on the host": {"zero_stage": 2, "offload_optimizer": True},
    "3, optimiser on the host": {"zero_stage": 3, "offload_optimizer": True},
}
"""ZeRO stages, and how they are gone about."""


class SmallNetwork(nn.Module):
    """Odd sizes, so that no shard divides them evenly, and a weight that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 7, 3, padding=1), nn.Conv2d(7, 3, 3, padding=1)
        self.fixed = nn.Conv2d(3, 3, 1).requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        made = self.last(F.silu(self.first(images))) + self.fixed(images)
        return F.mse_loss(made, images), made.detach()


def batch(step: int) -> Tensor:
    return torch.randn(BATCH, 3, 8, 8, generator=torch.Generator().manual_seed(step))


def network(seed: int = 0) -> SmallNetwork:
    """`fixed` is the same for all seeds."""
    torch.manual_seed(0)
    made = SmallNetwork()
    torch.manual_seed(seed)
    made.first.reset_parameters(), made.last.reset_parameters()
    return made


def plain(steps: int) -> dict[str, Tensor]:
    module = network()
    trained = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    training = PlainTraining(trained, AVERAGES, lr=RATE, **OPTIMISER)
    for step in range(steps):
        training.step(module(batch(step))[0], step, CLIP)
    return training.state()


def train_all(rank: int, workers: int, folder: str) -> None:
    from rayograph.training.engine.engine import Engine
    from rayograph.training.engine.state import Piece

    halfway = load_file(f"{folder}/halfway.safetensors")
    for form, how in FORMS.items():
        for accumulation in (1, 2):
            for start in (0, RESUME_AT):
                chosen = OPTIMISER | {"averages": AVERAGES, "gradient_clipping": CLIP, "accumulation": accumulation}
                # A resumed engine begins with other weights, which loading must replace.
                engine = Engine(network(seed=start), settings(BATCH // workers // accumulation, **chosen, **how))
                if start:
                    for name, tensor in halfway.items():
                        for first, values in enumerate(tensor.flatten().split(PIECE)):  # as no stage would cut it
                            engine.state.put(Piece(name, first * PIECE, values))
                    engine.state.steps = start
                for step in range(start, STEPS):
                    engine.schedule(RATE, step)
                    mine = batch(step).chunk(workers)[rank]
                    results = engine.minimise([(part,) for part in mine.chunk(accumulation)])
                    assert [shown.shape for _, shown in results] == [part.shape for part in mine.chunk(accumulation)]
                assert engine.state.steps == STEPS
                case = f"{form}-{accumulation}-{start}"
                whole = dict(state(engine))
                assert {name: tuple(tensor.shape) for name, tensor in whole.items()} == engine.state.shapes()
                if rank == 0:
                    save_file(whole, f"{folder}/{case}.safetensors")
                kept = {f"{piece.name}@{piece.start}": piece.values.clone() for piece in engine.state.pieces()}
                save_file(kept, f"{folder}/{case}-kept-by-{rank}.safetensors")


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("engine")
    save_file(plain(RESUME_AT), folder / "halfway.safetensors")
    spawn(train_all, request.param, str(folder))
    return folder


@pytest.mark.parametrize("start", [0, RESUME_AT], ids=["from the beginning", "loaded half way"])
@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("form", FORMS)
def test_every_zero_stage_trains_like_plain_torch(trained: Path, form: str, accumulation: int, start: int) -> None:
    expected = plain(STEPS)
    found = load_file(trained / f"{form}-{accumulation}-{start}.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("form", FORMS)
def test_the_workers_pieces_together_are_every_value_once(trained: Path, form: str) -> None:
    whole = load_file(trained / f"{form}-1-0.safetensors")
    missing = {name: torch.ones(tensor.numel(), dtype=torch.bool) for name, tensor in whole.items()}
    for file in trained.glob(f"{form}-1-0-kept-by-*.safetensors"):
        for key, values in load_file(file).items():
            name, _, start = key.rpartition("@")
            here = slice(int(start), int(start) + len(values))
            assert torch.equal(whole[name].flatten()[here], values), key
            assert missing[name][here].all(), key
            missing[name][here] = False
    assert not any(values.any() for values in missing.values())


def train_in_fp16(rank: int, workers: int, folder: str) -> None:
    from rayograph.training.engine.engine import Engine
    from rayograph.training.engine.loss_scale import FIRST
    from rayograph.training.engine.state import Piece

    for stage in (0, 2, 3):
        engine = Engine(network(), settings(BATCH // workers, stage, precision="fp16"))
        losses = []
        for step in range(STEPS):
            engine.schedule(RATE, step)
            ((loss, _),) = engine.minimise([(batch(0).chunk(workers)[rank],)])
            losses.append(loss)
        assert {tensor.dtype for _, tensor in state(engine)} == {torch.float32}
        before, steps, scale = dict(state(engine)), engine.state.steps, engine.counters["loss_scale"]
        assert engine.figures()["step_left_out"] == 0.0
        huge = batch(0).chunk(workers)[rank] * (1e30 if rank == workers - 1 else 1.0)
        engine.minimise([(huge,)])  # the last worker's gradients overflow: no worker takes the step
        assert engine.figures() == {"step_left_out": 1.0}
        after = dict(state(engine))
        assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
        assert (engine.state.steps, engine.counters["loss_scale"]) == (steps, scale / 2)
        engine.minimise([(batch(0).chunk(workers)[rank],)])
        assert engine.state.steps == steps + 1
        assert engine.figures()["gradient_norm"] > 0
        first = Engine(network(), settings(BATCH // workers, stage, precision="fp16"))
        first.minimise([(huge,)])  # before any norm is known
        assert first.figures() == {"step_left_out": 1.0}
        for name, tensor in before.items():  # what is loaded behind a step that was left out is computed with
            first.state.put(Piece(name, 0, torch.zeros_like(tensor).flatten()))
        ((loss, _),) = first.minimise([(batch(0).chunk(workers)[rank],)])
        expected = network().fixed(batch(0).chunk(workers)[rank]) - batch(0).chunk(workers)[rank]
        torch.testing.assert_close(loss.float(), expected.square().mean(), rtol=1e-2, atol=1e-3)
        engine.counters = {"steps": 3, "loss_scale": FIRST}
        assert engine.counters == {"steps": 3, "loss_scale": FIRST}
        if rank == 0:
            save_file({"losses": torch.stack(losses).float()}, f"{folder}/{workers}-{stage}.safetensors")


@pytest.mark.parametrize("workers", [1, 2])
def test_fp16_learns_and_leaves_out_steps_that_overflow(tmp_path: Path, workers: int) -> None:
    spawn(train_in_fp16, workers, str(tmp_path))
    for stage in (0, 2, 3):
        losses = load_file(tmp_path / f"{workers}-{stage}.safetensors")["losses"]
        assert losses.isfinite().all()
        assert losses[-1] < losses[0]


class Looks(nn.Module):
    """Shows whether it computes in 16 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3, 3)

    def forward(self, values: Tensor) -> tuple[Tensor, bool]:
        return self.line(values).float().square().mean(), torch.is_autocast_enabled("cpu")


def look(rank: int, workers: int, folder: str) -> None:
    from rayograph.training.engine.engine import Engine

    torch.set_autocast_enabled("cuda", True)  # what DeepSpeed asks about, on whichever device, and then turns off
    for stage, flat_parameters in ((0, 0), (2, 0), (2, 100), (3, 0), (3, 100)):
        for precision in ("fp32", "bf16"):
            engine = Engine(Looks(), settings(2, stage, flat_parameters=flat_parameters, precision=precision))
            ((_, shown),) = engine.minimise([(torch.ones(2, 3),)])
            assert shown == (precision == "bf16"), (stage, flat_parameters, precision)


def test_networks_compute_in_the_precision_asked_for(tmp_path: Path) -> None:
    spawn(look, 1, str(tmp_path))
