"""Adversarial training under ZeRO equals a plain loop: both networks, the adaptive weight and the moving average."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from engines import named_state
from plain import PlainTraining
from safetensors.torch import load_file, save_file
from torch import Tensor
from workers import spawn

from rayograph.config import (
    Autoencoder,
    AutoencoderLoss,
    Discriminator,
    PerceptualNetwork,
    TrainAutoencoder,
    TrainingScale,
)
from rayograph.errors import ConfigError
from rayograph.losses.adversarial import adaptive_weight, discriminator_loss, generator_loss
from rayograph.losses.reconstruction_loss import kl_loss, reconstruction_loss
from rayograph.models.autoencoder import build_autoencoder, posterior_sample, to_images
from rayograph.models.discriminator import PatchDiscriminator
from rayograph.models.perceptual import build_perceptual
from rayograph.runs.philox import normal
from rayograph.runs.rng_streams import RngStream
from rayograph.shards.batch import Batch
from rayograph.training.setup import averages_of

SEED, STEPS, GLOBAL = 3, 12, 8
CASES = [
    *((workers, stage, accumulation) for workers in (1, 2) for stage in (0, 1, 2, 3) for accumulation in (1, 2)),
    *((4, stage, 1) for stage in (0, 1, 2, 3)),
]
"""Workers, ZeRO stage and accumulation."""
RECIPE = TrainAutoencoder(
    network=Autoencoder(
        block_out_channels=(8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
        latent_channels=2,
    ),
    discriminator=Discriminator(base_channels=8, num_layers=1),
    perceptual=PerceptualNetwork(channels=(12, 12)),
    loss=AutoencoderLoss(kl_weight=1e-3, discriminator_start_images=4 * GLOBAL),
    total_images=STEPS * GLOBAL,
    global_batch_size=GLOBAL,
    lanes=4,
    learning_rate=3e-4,
    discriminator_learning_rate=0.03,
    # Losses are sums over an image, gradients in the hundreds: an epsilon of that order keeps Adam from turning the
    # rounding of small ones into whole steps. The critic's are small; its rate makes up for it.
    eps=1.0,
    ema_decays=(0.9,),
)


def pixels(step: int) -> np.ndarray:
    return np.random.default_rng(step).integers(0, 256, (GLOBAL, 8, 8, 3), dtype=np.uint8)


def plain_loop() -> tuple[dict[str, Tensor], list[float]]:
    """The whole thing written out in plain PyTorch, in one process, without accumulation."""
    torch.manual_seed(SEED)
    autoencoder = build_autoencoder(RECIPE.network)
    critic = PatchDiscriminator(RECIPE.discriminator, 3)
    perceptual, _ = build_perceptual(RECIPE.perceptual, 3)
    options = {"betas": RECIPE.betas, "eps": RECIPE.eps, "weight_decay": RECIPE.weight_decay}
    of_autoencoder = PlainTraining(
        autoencoder.named_parameters(), averages_of(RECIPE), lr=RECIPE.learning_rate, **options
    )
    of_critic = PlainTraining(critic.named_parameters(), lr=RECIPE.discriminator_learning_rate, **options)
    weights = []
    for step in range(STEPS):
        images = to_images(torch.from_numpy(pixels(step)))
        positions = torch.arange(step * GLOBAL, (step + 1) * GLOBAL)
        moments = autoencoder.encode(images)
        raw_latents = posterior_sample(moments, normal(SEED, RngStream.POSTERIOR, positions, (2, 4, 4)))
        made = autoencoder.decode(raw_latents)
        reconstruction = reconstruction_loss(made, images, perceptual(made, images), RECIPE.loss.perceptual_weight)
        loss = reconstruction + RECIPE.loss.kl_weight * kl_loss(moments)
        adversarial = step >= 4
        if adversarial:
            fooling = generator_loss(critic(made))
            last = autoencoder.last_decoder_layer()
            weight = adaptive_weight(
                torch.autograd.grad(reconstruction, last, retain_graph=True)[0],
                torch.autograd.grad(fooling, last, retain_graph=True)[0],
            )
            weights.append(float(weight))
            loss = loss + RECIPE.loss.discriminator_weight * weight * fooling
        of_autoencoder.step(loss, step)
        if adversarial:
            of_critic.step(discriminator_loss(critic(images), critic(made.detach())), step)
    state = {f"autoencoder/{name}": tensor for name, tensor in of_autoencoder.state("autoencoder.").items()}
    state |= {f"discriminator/{name}": tensor for name, tensor in of_critic.state("discriminator.").items()}
    return {name: tensor for name, tensor in state.items() if "exp_" not in name}, weights


def learn(rank: int, workers: int, folder: str) -> None:
    from rayograph.training.autoencoder_learner import AutoencoderLearner

    share = GLOBAL // workers
    rows = slice(rank * share, (rank + 1) * share)
    for stage, accumulation in (case[1:] for case in CASES if case[0] == workers):
        scale = TrainingScale(micro_batch_size=share // accumulation, zero_stage=stage)
        learner = AutoencoderLearner(RECIPE, scale, SEED)
        weights = []
        for step in range(STEPS):
            positions = np.arange(step * GLOBAL, (step + 1) * GLOBAL)[rows]
            metrics = learner.step(Batch(positions, {"pixels": pixels(step)[rows]}), step * GLOBAL)
            weights += [metrics["adaptive_weight"]] if "adaptive_weight" in metrics else []
        state = named_state(learner) | {"weights": torch.tensor(weights)}
        if rank == 0:
            save_file(state, f"{folder}/{workers}-{stage}-{accumulation}.safetensors")


def learn_compiled(rank: int, workers: int, folder: str) -> None:
    from rayograph.training.autoencoder_learner import AutoencoderLearner

    network = RECIPE.network.model_copy(update={"block_out_channels": (8,)})  # as small as it gets: it compiles sooner
    recipe = RECIPE.model_copy(update={"network": network, "perceptual": PerceptualNetwork(channels=(12,))})
    weights = {}
    for word in ("plain", "compiled"):
        way = {"compile": word == "compiled", "activation_checkpointing": word == "compiled"}
        learner = AutoencoderLearner(recipe, TrainingScale(micro_batch_size=GLOBAL, zero_stage=2, **way), SEED)
        for step in range(6):  # the adversary joins at the fourth
            positions = np.arange(step * GLOBAL, (step + 1) * GLOBAL)
            metrics = learner.step(Batch(positions, {"pixels": pixels(step)}), step * GLOBAL)
        weights[word] = torch.tensor(metrics["adaptive_weight"])
    save_file(weights, f"{folder}/weights.safetensors")


def test_compiled_it_trains_the_same(tmp_path: Path) -> None:
    spawn(learn_compiled, 1, str(tmp_path))
    found = load_file(tmp_path / "weights.safetensors")
    torch.testing.assert_close(found["compiled"], found["plain"], rtol=1e-4, atol=0.0)


def test_activation_checkpointing_is_refused_for_a_network_that_has_none() -> None:
    from rayograph.training.setup import prepared

    network = build_autoencoder(QUANTISED.network)
    with pytest.raises(ConfigError, match="expected false, as VQAutoencoder has none"):
        prepared(network, TrainingScale(activation_checkpointing=True), [])


def learn_in_bf16(rank: int, workers: int, folder: str) -> None:
    from rayograph.training.autoencoder_learner import AutoencoderLearner

    learner = AutoencoderLearner(RECIPE, TrainingScale(micro_batch_size=GLOBAL // 2, precision="bf16"), SEED)
    rows = np.arange(GLOBAL)
    losses = [learner.step(Batch(rows, {"pixels": pixels(0)}), step * GLOBAL)["reconstruction"] for step in range(20)]
    state = named_state(learner)
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    save_file({"losses": torch.tensor(losses)}, f"{folder}/bf16.safetensors")


def test_bf16_learns_with_weights_in_fp32(tmp_path: Path) -> None:
    spawn(learn_in_bf16, 1, str(tmp_path))
    losses = load_file(tmp_path / "bf16.safetensors")["losses"]
    assert losses.isfinite().all()
    assert losses[-1] < losses[0]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("learner")
    for workers in (1, 2, 4):
        spawn(learn, workers, str(folder))
    return folder


@pytest.fixture(scope="module")
def expected() -> Iterator[tuple[dict[str, Tensor], list[float]]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers have: other sums round otherwise, and an adversary amplifies that
    yield plain_loop()
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("workers", "stage", "accumulation"), CASES)
def test_two_engines_train_like_one_plain_loop(
    learned: Path, expected: tuple[dict[str, Tensor], list[float]], workers: int, stage: int, accumulation: int
) -> None:
    state, weights = expected
    found = load_file(learned / f"{workers}-{stage}-{accumulation}.safetensors")
    torch.testing.assert_close(found["weights"], torch.tensor(weights), rtol=1e-5, atol=0.0)
    for name, tensor in state.items():
        torch.testing.assert_close(
            found[name], tensor, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_the_adversary_of_the_plain_loop_learns(expected: tuple[dict[str, Tensor], list[float]]) -> None:
    """Otherwise the comparison above would say nothing of it."""
    state, weights = expected
    torch.manual_seed(SEED)
    build_autoencoder(RECIPE.network)
    untrained = PatchDiscriminator(RECIPE.discriminator, 3)
    assert len(weights) == STEPS - 4
    for name, parameter in untrained.named_parameters():
        assert not torch.allclose(state[f"discriminator/weight/discriminator.{name}"], parameter, atol=1e-4)


QUANTISED = RECIPE.model_copy(
    update={
        "network": RECIPE.network.model_copy(update={"codebook_size": 16}),
        "loss": RECIPE.loss.model_copy(update={"adversarial": "non_saturating"}),
        "learning_rate": 3e-3,
        "eps": 1e-3,
    }
)


def learn_codes(rank: int, workers: int, folder: str) -> None:
    from rayograph.models.autoencoder import Quantised
    from rayograph.training.autoencoder_learner import AutoencoderLearner

    share = GLOBAL // workers
    rows = slice(rank * share, (rank + 1) * share)
    for stage in (0, 2, 3):
        learner = AutoencoderLearner(QUANTISED, TrainingScale(micro_batch_size=share, zero_stage=stage), SEED)
        figures = []
        for step in range(20):
            positions = np.arange(step * GLOBAL, (step + 1) * GLOBAL)[rows]
            figures.append(learner.step(Batch(positions, {"pixels": pixels(0)[rows]}), step * GLOBAL))
        state = named_state(learner)
        exported = [model for _, model in learner.exports()]
        assert [isinstance(model, Quantised) for model in exported] == ([True] if rank == 0 else [])
        if rank == 0:
            losses = {name: torch.tensor([row[name] for row in figures]) for name in ("reconstruction", "codebook")}
            save_file(state | losses, f"{folder}/codes-{workers}-{stage}.safetensors")


def test_a_codebook_is_learned_alike_on_every_stage_and_number_of_workers(tmp_path: Path) -> None:
    for workers in (1, 2):
        spawn(learn_codes, workers, str(tmp_path))
    alone = load_file(tmp_path / "codes-1-0.safetensors")
    assert alone["reconstruction"][-1] < 0.9 * alone["reconstruction"][0]
    codebook = alone["autoencoder/weight/autoencoder.quantize.embedding.weight"]
    torch.manual_seed(SEED)
    fresh = build_autoencoder(QUANTISED.network).quantize.embedding.weight
    assert not torch.allclose(codebook, fresh, atol=1e-3)  # it has been learned
    for workers, stage in ((1, 2), (1, 3), (2, 0), (2, 2), (2, 3)):
        found = load_file(tmp_path / f"codes-{workers}-{stage}.safetensors")
        for name, tensor in alone.items():
            case = f"{workers} workers, ZeRO {stage}, {name}"
            torch.testing.assert_close(
                found[name], tensor, rtol=1e-3, atol=1e-4, msg=lambda text, case=case: f"{case}: {text}"
            )
