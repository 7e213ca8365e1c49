"""Diffusion training under ZeRO equals a plain loop: losses, weights and average, on any number of workers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engines import named_state
from plain import PlainTraining
from safetensors.torch import load, load_file, save, save_file
from torch import Tensor
from workers import spawn

from rayograph.config import Denoiser, DiffusionLoss, FlowSchedule, NoiseSchedule, TrainDiffusion, TrainingScale
from rayograph.models.autoencoder import posterior_sample
from rayograph.models.denoiser import build_denoiser
from rayograph.models.normalisation import LatentNormalisation
from rayograph.models.schedule import build_schedule
from rayograph.models.specs import LatentShape
from rayograph.runs.artifact import Artifact
from rayograph.runs.philox import integers, normal, uniform
from rayograph.runs.rng_streams import RngStream
from rayograph.shards.batch import Batch
from rayograph.storage import open_store
from rayograph.training.checkpoints.checkpoint import COMMIT, Checkpoints, commit_of, folder_of
from rayograph.training.checkpoints.piece_files import pieces_in
from rayograph.training.checkpoints.retention import Retention
from rayograph.training.diffusion_learner import NAMES_BEFORE, diffusion_models
from rayograph.training.setup import averages_of

SEED, STEPS, GLOBAL, CLASSES = 5, 12, 8, 3
CASES = [
    *((workers, stage, accumulation) for workers in (1, 2) for stage in (0, 1, 2, 3) for accumulation in (1, 2)),
    *((4, stage, 1) for stage in (0, 1, 2, 3)),
]
"""Workers, ZeRO stage and accumulation."""
RECIPE = TrainDiffusion(
    network=Denoiser(
        num_classes=CLASSES,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_levels=(1,),
        attention_head_dim=8,
    ),
    noise_schedule=NoiseSchedule(prediction_type="v_prediction"),
    condition_drop_probability=0.3,
    total_images=STEPS * GLOBAL,
    global_batch_size=GLOBAL,
    lanes=4,
    learning_rate=1e-2,
    eps=1e-3,  # far above rounding: Adam would turn that of tiny gradients into whole steps
    ema_decays=(0.9, 0.5),
    ema_lengths=(0.1,),
)
SCALE = LatentNormalisation((0.1, -0.2, 0.3), (0.5, 1.0, 2.0))
SHAPE = (3, 8, 8)
LATENTS = LatentShape(3, 8)


def moments(step: int) -> np.ndarray:
    draw = np.random.default_rng(step)
    return draw.normal(size=(GLOBAL, 2 * SHAPE[0], *SHAPE[1:])).astype(np.float32)


def classes(step: int) -> np.ndarray:
    return np.random.default_rng(step).integers(0, CLASSES, GLOBAL)


def plain_loop() -> dict[str, Tensor]:
    """Written out in plain PyTorch, in one process, without accumulation; noise and velocity by diffusers.

    The embedding of classes, the last of no class, is within the denoiser, as diffusers has it.
    """
    torch.manual_seed(SEED)
    schedule = build_schedule(RECIPE.noise_schedule)
    denoiser = build_denoiser(RECIPE.network, SHAPE[0], SHAPE[1]).diffusers_model()
    training = PlainTraining(
        denoiser.named_parameters(),
        averages_of(RECIPE),
        lr=RECIPE.learning_rate,
        betas=RECIPE.betas,
        eps=RECIPE.eps,
        weight_decay=0.0,
    )
    losses = []
    for step in range(STEPS):
        positions = torch.arange(step * GLOBAL, (step + 1) * GLOBAL)
        raw = posterior_sample(torch.from_numpy(moments(step)), normal(SEED, RngStream.POSTERIOR, positions, SHAPE))
        latents = (raw - torch.tensor(SCALE.mean).view(3, 1, 1)) / torch.tensor(SCALE.std).view(3, 1, 1)
        noise = normal(SEED, RngStream.NOISE, positions, SHAPE)
        timesteps = integers(SEED, RngStream.TIMESTEP, positions, 1000)
        dropped = uniform(SEED, RngStream.CONDITION_DROP, positions, 1)[:, 0] < 0.3
        given = torch.where(dropped, CLASSES, torch.from_numpy(classes(step)))
        noisy_latents = schedule.add_noise(latents, noise, timesteps)
        prediction = denoiser(noisy_latents, timesteps, class_labels=given).sample
        loss = (prediction - schedule.get_velocity(latents, noise, timesteps)).square().mean()
        training.step(loss, step)
        losses.append(loss.detach())
    state = {}
    for name, tensor in training.state("denoiser.").items():
        key, _, weight = name.partition("/")
        if not key.startswith("exp_"):
            state[f"denoiser/{key}/{NAMES_BEFORE.get(weight, weight)}"] = tensor
    return state | {"losses": torch.stack(losses)}


def learn(rank: int, workers: int, folder: str) -> None:
    from rayograph.training.diffusion_learner import DiffusionLearner

    share = GLOBAL // workers
    rows = slice(rank * share, (rank + 1) * share)
    for stage, accumulation in (case[1:] for case in CASES if case[0] == workers):
        scale = TrainingScale(micro_batch_size=share // accumulation, zero_stage=stage)
        learner = DiffusionLearner(RECIPE, scale, SEED, SCALE, LATENTS)
        losses = []
        for step in range(STEPS):
            positions = np.arange(step * GLOBAL, (step + 1) * GLOBAL)[rows]
            batch = Batch(positions, {"moments": moments(step)[rows], "class": classes(step)[rows]})
            losses.append(learner.step(batch, step * GLOBAL)["loss"])
        state = named_state(learner) | {"losses": torch.tensor(losses)}
        if rank == 0:
            save_file(state, f"{folder}/{workers}-{stage}-{accumulation}.safetensors")


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("learner")
    for workers in (1, 2, 4):
        spawn(learn, workers, str(folder))
    return folder


@pytest.fixture(scope="module")
def expected() -> Iterator[dict[str, Tensor]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield plain_loop()
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("workers", "stage", "accumulation"), CASES)
def test_the_denoiser_trains_like_a_plain_loop(
    learned: Path, expected: dict[str, Tensor], workers: int, stage: int, accumulation: int
) -> None:
    found = load_file(learned / f"{workers}-{stage}-{accumulation}.safetensors")
    for name, tensor in expected.items():
        torch.testing.assert_close(
            found[name], tensor, rtol=1e-5, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


WAYS: list[dict[str, Any]] = [
    {"activation_checkpointing": True, "zero_stage": 1},
    {"activation_checkpointing": True, "zero_stage": 3},
    {"activation_checkpointing": True, "zero_stage": 3, "flat_parameters": 0},
]
PLAIN_NETWORK = {"block_out_channels": (8,), "norm_num_groups": 4, "attention_levels": (), "mid_block_attention": False}
"""Half a minute less to compile."""


def learn_in_other_ways(rank: int, workers: int, folder: str) -> None:
    from rayograph.training.diffusion_learner import DiffusionLearner

    def losses(recipe: TrainDiffusion, **way: Any) -> Tensor:
        learner = DiffusionLearner(recipe, TrainingScale(micro_batch_size=GLOBAL // 2, **way), SEED, SCALE, LATENTS)
        found = []
        for step in range(4):
            positions = np.arange(step * GLOBAL, (step + 1) * GLOBAL)
            batch = Batch(positions, {"moments": moments(step), "class": classes(step)})
            found.append(learner.step(batch, step * GLOBAL)["loss"])
        return torch.tensor(found)

    small = RECIPE.model_copy(update={"network": RECIPE.network.model_copy(update=PLAIN_NETWORK)})
    found = {str(number): losses(RECIPE, **way) for number, way in enumerate(WAYS)}
    found |= {
        f"small, {word}": losses(small, compile=word == "compiled", zero_stage=3) for word in ("plain", "compiled")
    }
    save_file(found, f"{folder}/losses.safetensors")


def test_compiled_or_with_activations_computed_again_it_trains_the_same(
    tmp_path: Path, expected: dict[str, Tensor]
) -> None:
    spawn(learn_in_other_ways, 1, str(tmp_path))
    found = load_file(tmp_path / "losses.safetensors")
    for number, way in enumerate(WAYS):
        torch.testing.assert_close(found[str(number)], expected["losses"][:4], rtol=1e-5, atol=0.0, msg=str(way))
    torch.testing.assert_close(found["small, compiled"], found["small, plain"], rtol=1e-5, atol=0.0)


def learn_otherwise(rank: int, workers: int, folder: str) -> None:
    from rayograph.training.diffusion_learner import DiffusionLearner

    schedules = {
        "epsilon": NoiseSchedule(),
        "sample": NoiseSchedule(prediction_type="sample", zero_terminal_snr=True),
        "velocity": NoiseSchedule(prediction_type="v_prediction", zero_terminal_snr=True),
        "flow": FlowSchedule(shift=2.0),
    }
    for name, schedule in schedules.items():
        gamma = 5.0 if name == "epsilon" else None
        loss = DiffusionLoss(norm="l1", timesteps="logit_normal", min_snr_gamma=gamma)
        recipe = RECIPE.model_copy(update={"noise_schedule": schedule, "loss": loss})
        learner = DiffusionLearner(recipe, TrainingScale(micro_batch_size=GLOBAL), SEED, SCALE, LATENTS)
        batch = Batch(np.arange(GLOBAL), {"moments": moments(0), "class": classes(0)})
        losses = [learner.step(batch, step * GLOBAL)["loss"] for step in range(20)]
        save_file({"losses": torch.tensor(losses)}, f"{folder}/{name}.safetensors")


def test_every_objective_learns(tmp_path: Path) -> None:
    spawn(learn_otherwise, 1, str(tmp_path))
    for name in ("epsilon", "sample", "velocity", "flow"):
        losses = load_file(tmp_path / f"{name}.safetensors")["losses"]
        assert losses.isfinite().all(), name
        assert losses[-5:].mean() < 0.9 * losses[0], name


def resume(rank: int, workers: int, folder: str) -> None:
    from rayograph.training.diffusion_learner import DiffusionLearner

    def learner() -> DiffusionLearner:
        return DiffusionLearner(RECIPE, TrainingScale(micro_batch_size=GLOBAL), SEED, SCALE, LATENTS)

    run, trained = Artifact(open_store(folder), "run"), learner()
    trained.step(Batch(np.arange(GLOBAL), {"moments": moments(0), "class": classes(0)}), 0)
    checkpoints = Checkpoints(run, trained, Retention(last=1))
    checkpoints.save(GLOBAL, {})
    checkpoints.finish()
    make_old(run, commit_of(run, GLOBAL))
    resumed = learner()
    assert Checkpoints(run, resumed, Retention(last=1)).load_newest() == (GLOBAL, {})
    expected, found = named_state(trained), named_state(resumed)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    old = _averaged(run, commit_of(run, GLOBAL))
    assert "denoiser.class_embedding.weight" in old
    _, told, _ = diffusion_models(RECIPE, old, LATENTS)
    kept = found[f"denoiser/{averages_of(RECIPE)[0].key}/conditioner.embedding.weight"]
    assert torch.equal(told[1].network.embedding.weight, kept)


def make_old(run: Artifact, commit: dict[str, Any]) -> None:
    """The same checkpoint as it was written when the embedding of classes was within the denoiser."""

    def old(name: str) -> str:
        for before, now in NAMES_BEFORE.items():
            name = name.replace(now, before)
        return name

    for file in commit["files"]:
        data = save({old(name): tensor for name, tensor in load(run.read(file["path"])).items()})
        file |= run.write(file["path"], data).model_dump()
    commit["shapes"] = {old(name): shape for name, shape in commit["shapes"].items()}
    run.write(f"{folder_of(commit['images_seen'])}/{COMMIT}", json.dumps(commit).encode())


def _averaged(run: Artifact, commit: dict[str, Any]) -> dict[str, Tensor]:
    prefix = f"denoiser/{averages_of(RECIPE)[0].key}/"
    pieces = [piece for file in commit["files"] for piece in pieces_in(run.read(file["path"]))]
    return {
        piece.name.removeprefix(prefix): piece.values.view(commit["shapes"][piece.name])
        for piece in pieces
        if piece.name.startswith(prefix)
    }


def test_a_checkpoint_with_the_class_embedding_within_the_denoiser_is_resumed_and_exported(tmp_path: Path) -> None:
    spawn(resume, 1, str(tmp_path))
