"""Each condition is learned: what is held out is predicted better with its own condition than with another's."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from workers import spawn

from rayograph.conditioning.trained import conditioner_of
from rayograph.config import (
    ConditionDenoiser,
    Denoiser,
    ImageEmbedding,
    Layout,
    LowResolution,
    MaskedImage,
    PooledPixels,
    SemanticMap,
    Several,
    TrainDiffusion,
    TrainingScale,
    View,
)
from rayograph.config.job.conditioners import ConditionerKind
from rayograph.ingest.decoders import Columns, Images
from rayograph.models.autoencoder import build_autoencoder, to_images
from rayograph.models.normalisation import LatentNormalisation
from rayograph.models.specs import LatentShape
from rayograph.runs.philox import normal
from rayograph.runs.rng_streams import RngStream
from rayograph.shards.batch import Batch
from rayograph.shards.sample import Sample

SIDE, GLOBAL, STEPS = 16, 32, 150
LATENTS = LatentShape(3, SIDE)
LAYOUT = Layout(
    labels=2, most_objects=2, vocabulary=512, num_layers=2, width=32, num_attention_heads=2, attention_head_dim=16,
    feed_forward=64,
)  # fmt: skip
KINDS: dict[str, ConditionerKind] = {
    "map": SemanticMap(num_labels=3),
    "projected map": SemanticMap(num_labels=3, halvings=1, channels=2, null="learned"),
    "low resolution": LowResolution(factor=4),
    "blind": LowResolution(factor=2, degradation="blind"),
    "hole": MaskedImage(),
    "layout": LAYOUT,
    "embedding": ImageEmbedding(features=PooledPixels(size=4, grey=False), dimension=48),
    "several": Several(conditions=(SemanticMap(num_labels=3), LAYOUT, LowResolution(factor=4, drop_probability=0.5))),
}
UNET = Denoiser(block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, mid_block_attention=False)
ATTENDING = ConditionDenoiser(
    block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, attention_levels=(0, 1), num_attention_heads=2,
    cross_attention_dim=32,
)  # fmt: skip


def picture(number: int) -> Sample:
    """A bright and a dark box somewhere on grey, its map and its boxes."""
    rng = np.random.default_rng(number)
    pixels, labels, boxes = np.full((SIDE, SIDE, 3), 128, np.uint8), np.zeros((SIDE, SIDE), np.uint8), []
    for label in (0, 1):
        left, top = rng.integers(0, SIDE - 6, 2)
        width, height = rng.integers(4, 7, 2)
        pixels[top : top + height, left : left + width] = 255 * (1 - label)
        labels[top : top + height, left : left + width] = label + 1
        box = [left / SIDE, top / SIDE, (left + width) / SIDE, (top + height) / SIDE]
        boxes.append({"label": label, "box": [float(edge) for edge in box]})
    members = {"png": png(pixels), "map.png": png(labels), "boxes.json": json.dumps(boxes).encode()}
    return Sample(f"{number}", members)


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def seen(content: Images, numbers: np.ndarray) -> Columns:
    decode = content.decoder(numbers)
    rows = [decode(place, picture(int(number))) for place, number in enumerate(numbers)]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def learn(rank: int, workers: int, folder: str, name: str) -> None:
    from rayograph.config.job.networks import Identity
    from rayograph.training.diffusion_learner import DiffusionLearner

    declared = KINDS[name]
    attends = conditioner_of(declared, None).gives(LATENTS).cross_attention
    recipe = TrainDiffusion(
        images="pack", network=ATTENDING if attends else UNET, conditioner=declared, total_images=STEPS * GLOBAL,
        global_batch_size=GLOBAL, lanes=4, learning_rate=3e-3, ema_decays=(0.9,),
    )  # fmt: skip
    identity = build_autoencoder(Identity())
    scale = LatentNormalisation.kept_in(identity)
    training = TrainingScale(micro_batch_size=GLOBAL, zero_stage=0)
    learner = DiffusionLearner(recipe, training, 0, scale, LATENTS, first_stage=identity)
    content = Images(SIDE, View(flip_probability=0.5), 0, conditioner_of(declared, None))
    for step in range(STEPS):
        positions = np.arange(step * GLOBAL, (step + 1) * GLOBAL)
        learner.step(Batch(positions, seen(content, positions)), step * GLOBAL)
    (engine,) = learner.engines().values()
    numbers = np.arange(1_000_000, 1_000_064)
    columns = {name: torch.from_numpy(values) for name, values in seen(content, numbers).items()}
    latents = to_images(columns.pop("pixels"))
    noise = normal(1, RngStream.NOISE, torch.from_numpy(numbers), latents.shape[1:])
    timesteps = torch.arange(64) * 10 + 300
    keep = torch.ones(64, len(recipe.conditioning.drop_probabilities(0.0)), dtype=torch.bool)
    other = {name: values.roll(1, 0) for name, values in columns.items()}
    with torch.no_grad():
        told = {"own": (columns, keep), "another's": (other, keep), "nothing": (columns, ~keep)}
        losses = {word: engine.module(latents, noise, timesteps, *what)[0].reshape(1) for word, what in told.items()}
    save_file(losses, f"{folder}/losses.safetensors")


@pytest.mark.soak
@pytest.mark.parametrize("name", KINDS)
def test_held_out_images_are_predicted_better_with_their_own_condition(tmp_path: Path, name: str) -> None:
    spawn(learn, 1, str(tmp_path), name)
    losses = {word: values.item() for word, values in load_file(tmp_path / "losses.safetensors").items()}
    print(name, losses)
    assert losses["own"] < 0.95 * losses["another's"]
    assert losses["own"] < 0.98 * losses["nothing"]
