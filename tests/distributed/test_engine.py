"""The engine against plain PyTorch: ZeRO 0-3, one and two workers, accumulation, clipping, EMA, loading."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from workers import spawn

from rayograph.training.optimiser import AdamWithEma, ema_decay_at

STEPS, RESUME_AT, BATCH, PIECE = 6, 3, 8, 5
RATE, DECAY, CLIP = 1e-2, 0.9, 0.5
# Adam divides by the root of the second moment: an epsilon far above rounding keeps directions of nothing still.
OPTIMISER = {"betas": (0.9, 0.99), "eps": 1e-4, "weight_decay": 0.01}


class SmallNetwork(nn.Module):
    """Odd sizes, so that no shard divides them evenly."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 7, 3, padding=1), nn.Conv2d(7, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return F.mse_loss(self.last(F.silu(self.first(images))), images)


def batch(step: int) -> Tensor:
    return torch.randn(BATCH, 3, 8, 8, generator=torch.Generator().manual_seed(step))


def plain(steps: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    network = SmallNetwork()
    optimiser = AdamWithEma(network.parameters(), lr=RATE, **OPTIMISER)
    for step in range(steps):
        optimiser.param_groups[0]["ema_decay"] = ema_decay_at(step, DECAY)
        optimiser.zero_grad()
        network(batch(step)).backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimiser.step()
    state = {}
    for name, parameter in network.named_parameters():
        state[f"weight/{name}"] = parameter.detach()
        for key in ("exp_avg", "exp_avg_sq", "ema"):
            state[f"{key}/{name}"] = optimiser.state[parameter][key]
    return state


def train_all_stages(rank: int, workers: int, folder: str) -> None:
    from rayograph.training.engine import Engine, EngineSettings, Piece

    halfway = load_file(f"{folder}/halfway.safetensors")
    for stage in (0, 1, 2, 3):
        for accumulation in (1, 2):
            for start in (0, RESUME_AT):
                torch.manual_seed(start)  # a resumed engine begins with other weights, which loading must replace
                settings = EngineSettings(
                    BATCH // workers // accumulation, accumulation, stage, "fp32", gradient_clipping=CLIP, **OPTIMISER
                )
                engine = Engine(SmallNetwork(), settings)
                if start:
                    for name, tensor in halfway.items():
                        for first, values in enumerate(tensor.flatten().split(PIECE)):  # as no stage would cut it
                            engine.put(Piece(name, first * PIECE, values))
                    engine.steps = start
                for step in range(start, STEPS):
                    engine.schedule(RATE, ema_decay_at(step, DECAY))
                    mine = batch(step).chunk(workers)[rank]
                    for micro_batch in mine.chunk(accumulation):
                        engine.minimise(engine(micro_batch))
                state = {name: tensor.clone() for name, tensor in engine.state()}
                case = f"{stage}-{accumulation}-{start}"
                if rank == 0:
                    save_file(state, f"{folder}/{case}.safetensors")
                kept = {f"{piece.name}@{piece.start}": piece.values.clone() for piece in engine.pieces()}
                save_file(kept, f"{folder}/{case}-kept-by-{rank}.safetensors")


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("engine")
    save_file(plain(RESUME_AT), folder / "halfway.safetensors")
    spawn(train_all_stages, request.param, str(folder))
    return folder


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_every_zero_stage_trains_like_plain_torch(trained: Path, stage: int, accumulation: int) -> None:
    expected = plain(STEPS)
    found = load_file(trained / f"{stage}-{accumulation}-0.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_loaded_state_continues_as_if_never_interrupted(trained: Path, stage: int, accumulation: int) -> None:
    expected = plain(STEPS)
    found = load_file(trained / f"{stage}-{accumulation}-{RESUME_AT}.safetensors")
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_the_workers_pieces_together_are_every_value_once(trained: Path, stage: int) -> None:
    whole = load_file(trained / f"{stage}-1-0.safetensors")
    missing = {name: torch.ones(tensor.numel(), dtype=torch.bool) for name, tensor in whole.items()}
    for file in trained.glob(f"{stage}-1-0-kept-by-*.safetensors"):
        for key, values in load_file(file).items():
            name, _, start = key.rpartition("@")
            here = slice(int(start), int(start) + len(values))
            assert torch.equal(whole[name].flatten()[here], values), key
            assert missing[name][here].all(), key
            missing[name][here] = False
    assert not any(values.any() for values in missing.values())


def test_ema_decay_warms_up_to_its_limit() -> None:
    assert [ema_decay_at(step, 0.5) for step in (0, 1, 8, 1000)] == [0.1, 2 / 11, 0.5, 0.5]
