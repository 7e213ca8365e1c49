"""A transformer on pixels trains alike on any number of workers, and starts from weights that are given."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from engines import named_state
from safetensors.torch import load_file, save_file
from workers import spawn

from rayograph.config import DiT, NoiseSchedule, TrainDiffusion, TrainingScale
from rayograph.models.normalisation import LatentNormalisation
from rayograph.models.specs import LatentShape
from rayograph.shards.batch import Batch

SEED, STEPS, GLOBAL, CLASSES, SIDE = 5, 8, 8, 3, 4
RECIPE = TrainDiffusion(
    images="pack",
    network=DiT(num_classes=CLASSES, num_layers=2, num_attention_heads=2, attention_head_dim=8),
    noise_schedule=NoiseSchedule(prediction_type="v_prediction"),
    condition_drop_probability=0.3,
    total_images=STEPS * GLOBAL,
    global_batch_size=GLOBAL,
    lanes=4,
    learning_rate=1e-2,
    eps=1e-3,  # far above rounding: Adam would turn that of tiny gradients into whole steps
    ema_decays=(0.9,),
)
PIXELS = LatentNormalisation((0.0,) * 3, (1.0,) * 3)
PLAIN = {"zero_stage": 0}
WAYS = [
    *({"zero_stage": stage} for stage in (0, 1, 2, 3)),
    {"zero_stage": 3, "flat_parameters": 0},
    {"zero_stage": 2, "activation_checkpointing": True},
]


def batch(step: int, rows: slice) -> Batch:
    draw = np.random.default_rng(step)
    pixels = draw.integers(0, 256, (GLOBAL, SIDE, SIDE, 3), np.uint8)
    positions = np.arange(step * GLOBAL, (step + 1) * GLOBAL)
    return Batch(positions[rows], {"pixels": pixels[rows], "class": draw.integers(0, CLASSES, GLOBAL)[rows]})


def learn(rank: int, workers: int, folder: str) -> None:
    from rayograph.training.diffusion_learner import DiffusionLearner

    share = GLOBAL // workers
    rows = slice(rank * share, (rank + 1) * share)
    for number, way in enumerate(WAYS if workers > 1 else [PLAIN]):
        scale = TrainingScale(micro_batch_size=share, **way)
        learner = DiffusionLearner(RECIPE, scale, SEED, PIXELS, LatentShape(3, SIDE))
        losses = [learner.step(batch(step, rows), step * GLOBAL)["loss"] for step in range(STEPS)]
        state = named_state(learner) | {"losses": torch.tensor(losses)}
        if rank == 0:
            save_file(state, f"{folder}/{workers}-{number}.safetensors")


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("transformer")
    for workers in (1, 2):
        spawn(learn, workers, str(folder))
    return folder


@pytest.mark.parametrize("number", range(len(WAYS)), ids=[str(way) for way in WAYS])
def test_two_workers_train_it_like_one(learned: Path, number: int) -> None:
    expected, found = (load_file(learned / name) for name in ("1-0.safetensors", f"2-{number}.safetensors"))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: name + text)


def start(rank: int, workers: int, zero_stage: int) -> None:
    from rayograph.training.diffusion_learner import DENOISER_ENGINE, DiffusionLearner, diffusion_models

    scale = TrainingScale(micro_batch_size=GLOBAL, zero_stage=zero_stage)
    first = DiffusionLearner(RECIPE, scale, SEED, PIXELS, LatentShape(3, SIDE))
    for step in range(STEPS):
        first.step(batch(step, slice(None)), step * GLOBAL)
    average = first.engines()[DENOISER_ENGINE].averaged()
    second = DiffusionLearner(RECIPE, scale, SEED + 1, PIXELS, LatentShape(3, SIDE), average)
    assert all(torch.equal(a, average[n]) for n, a in second.engines()[DENOISER_ENGINE].averaged().items())
    for (folder, one), (_, other) in zip(
        diffusion_models(RECIPE, average, LatentShape(3, SIDE)), second.exports(), strict=True
    ):
        if folder.endswith("unet"):
            assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("zero_stage", [0, 3])
def test_a_learner_starts_from_the_weights_that_it_is_given(zero_stage: int) -> None:
    spawn(start, 1, zero_stage)
