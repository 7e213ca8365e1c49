"""The paper's published models, declared in jobs/paper: as many parameters, and at small widths the same predictions.

`pytest -s tests/unit/test_published_counts.py -k to_the_last` prints the table.
"""

from collections.abc import Iterator
from functools import cache

import pytest
import torch
from command import ROOT
from published_first_stage import FirstStage
from published_layout import UNet, disturb

from rayograph.conditioning.settled import settled
from rayograph.conditioning.trained import conditioner_of
from rayograph.config import Autoencoder, ConditionDenoiser, Denoiser, Job, TrainDiffusion
from rayograph.config.reading.files import load_job
from rayograph.models.autoencoder import build_autoencoder
from rayograph.models.conditioning import Conditioning
from rayograph.models.denoiser import build_denoiser
from rayograph.models.published.first_stage import first_stage_weights
from rayograph.models.published.unet import unet_weights
from rayograph.models.published.unet_layout import Heads, UNetLayout
from rayograph.models.specs import LatentShape, Ways
from rayograph.training.diffusion_learner import build_networks

CLOSE = 2e-5
IMAGE_SIZE = 256

FIRST_STAGES = {
    "kl_f4": 55_312_063,
    "kl_f8": 83_653_863,
    "kl_f16": 69_610_963,
    "kl_f32": 103_880_131,
    "vq_f4": 55_322_782,
    "vq_f4_no_attention": 53_219_486,
    "vq_f8": 67_717_295,
    "vq_f8_256": 67_652_783,
    "vq_f16": 69_593_371,
}
"""By the stages of autoencoder_zoo.py."""

DENOISERS = {
    "celebahq256": (274_056_163, 0),
    "ffhq256": (274_056_163, 0),
    "lsun_bedrooms256": (274_056_163, 0),
    "lsun_churches256": (294_966_916, 0),
    "imagenet256_f8": (394_984_196, 512_000 + 512),
    "imagenet256_f4": (400_920_579, 512_512),
    "text2image256": (872_300_484, 581_994_042),
    "text2image256_f4": (403_623_939, None),
    "layout_coco": (246_277_379, 58_858_496),
    "semantic_landscapes": (215_229_315, 546),
    "inpainting_places": (387_245_827, 0),
    "superresolution_imagenet": (113_622_563, 0),
}
"""By the recipes: the denoiser, and what it is conditioned by. None where that is not published.
ImageNet's f8 model has a class more here, of none."""


@cache
def recipe(name: str) -> Job:
    return load_job(str(ROOT / "jobs" / "paper" / f"{name}.py"))


def training(name: str) -> tuple[TrainDiffusion, LatentShape]:
    """Of a recipe, with classes and words filled in that only the data can tell, and the latents that it learns."""
    stages = recipe(name).stages
    network = stages["train_autoencoder"].network
    factor = network.downsampling_factor
    declared = stages["train_diffusion"]
    if declared.conditioning.needs_data:
        declared, _ = settled("train", declared, [{"class_names": [f"n{number:08}" for number in range(1000)]}])
    return declared, LatentShape(network.latent_channels, IMAGE_SIZE // factor, factor)


def count(network: torch.nn.Module) -> int:
    return sum(map(torch.numel, network.parameters()))


def counts() -> Iterator[tuple[str, tuple[int, ...], tuple[int | None, ...]]]:
    """Of every published model: what it is called, its parameters as declared, and as published."""
    with torch.device("meta"):
        for name, published in FIRST_STAGES.items():
            yield name, (count(build_autoencoder(recipe("autoencoder_zoo").stages[name].network)),), (published,)
        for name, expected in DENOISERS.items():
            denoiser, trained = build_networks(*training(name))
            yield name, (count(denoiser), count(trained.network)), expected


def test_every_published_model_has_as_many_parameters_to_the_last():
    wrong = []
    for name, found, published in counts():
        columns = (" + ".join("?" if one is None else f"{one:,}" for one in row) for row in (found, published))
        print(f"| {name} | {' | '.join(columns)} |")
        wrong += [name] if any(p not in (f, None) for f, p in zip(found, published, strict=True)) else []
    assert not wrong


def test_every_recipe_says_its_parameters():
    for name, (denoiser, _) in DENOISERS.items():
        assert f"{denoiser:,}" in (ROOT / "jobs" / "paper" / f"{name}.py").read_text(), name
    zoo = (ROOT / "jobs" / "paper" / "autoencoder_zoo.py").read_text()
    assert all(f"| {name} |" in zoo and f"| {number:,} |" in zoo for name, number in FIRST_STAGES.items())


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def narrow(widths: tuple[int, ...]) -> tuple[int, ...]:
    """In the same proportions, the narrowest 32."""
    return tuple(32 * width // min(widths) for width in widths)


@torch.inference_mode()
@pytest.mark.parametrize("name", FIRST_STAGES)
def test_a_narrower_first_stage_gives_what_one_in_the_published_layout_gives(name):
    full = recipe("autoencoder_zoo").stages[name].network
    codes = None if full.codebook_size is None else 64
    declared = Autoencoder(
        **full.model_dump() | {"block_out_channels": narrow(full.block_out_channels), "codebook_size": codes}
    )
    published = disturb(
        FirstStage(
            widths=declared.block_out_channels, blocks=declared.layers_per_block, z=declared.latent_channels,
            attn=declared.attention_levels, codes=codes, mid=declared.mid_block_add_attention,
        )
    )  # fmt: skip
    ours = build_autoencoder(declared).eval()
    ours.load_state_dict(first_stage_weights(published.state_dict(), name))
    images = random(2, 3, 64, 64)
    encoded, moments = published.encode(images), ours.encode(images)
    mean = encoded if codes else encoded.chunk(2, dim=1)[0]
    assert ((moments.chunk(2, dim=1)[0] if codes else moments) - encoded).abs().max() <= CLOSE
    assert (ours.decode(mean) - published.decode(mean)).abs().max() <= CLOSE
    assert encoded.std() > 0.05


def declaration(name: str) -> tuple[Denoiser | ConditionDenoiser, int, Ways]:
    """Of a denoiser, the latents' channels, and what it is told."""
    declared, latents = training(name)
    return declared.network, latents.channels, conditioner_of(declared.conditioning, None).gives(latents)


def narrower(full: Denoiser | ConditionDenoiser) -> Denoiser | ConditionDenoiser:
    said = {"block_out_channels": narrow(full.block_out_channels), "num_classes": 0}
    if isinstance(full, ConditionDenoiser):
        said["cross_attention_dim"] = 24
    return type(full)(**full.model_dump() | said)


@torch.inference_mode()
@pytest.mark.parametrize("name", DENOISERS)
def test_a_narrower_denoiser_predicts_what_one_in_the_published_layout_predicts(name):
    full, channels, gives = declaration(name)
    declared, beside = narrower(full), gives.concat
    attends = isinstance(declared, ConditionDenoiser)
    by_number = not (attends and declared.attention_head_dim) and declared.num_attention_heads
    heads = Heads(number=by_number) if by_number else Heads(channels=declared.attention_head_dim)
    published = disturb(
        UNet(
            channels=32, mult=tuple(width // 32 for width in declared.block_out_channels),
            blocks=declared.layers_per_block, attn=declared.attention_levels, heads=heads.number,
            head_channels=heads.channels, inputs=channels + beside, outputs=channels,
            context=declared.cross_attention_dim if attends else None,
            depth=declared.transformer_layers_per_block if attends else 1,
            scale_shift=declared.resnet_time_scale_shift == "scale_shift",
            resblock_updown=not attends and declared.resample_type == "resnet",
        )
    )  # fmt: skip
    ours = build_denoiser(declared, channels, 16, gives).eval()
    weights = published.state_dict()
    ours.load_state_dict(unet_weights(weights, UNetLayout.of(weights, name), heads, name))
    noisy, timesteps = random(2, channels, 16, 16), torch.tensor([3, 801])
    told = random(2, beside, 16, 16, seed=1) if beside else None
    tokens = random(2, 5, declared.cross_attention_dim, seed=2) if attends else None
    expected = published(noisy if told is None else torch.cat([noisy, told], 1), timesteps, tokens)
    predicted = ours(noisy, timesteps, Conditioning(cross_attention=tokens, concat=told))
    assert (predicted - expected).abs().max() <= CLOSE
    assert expected.std() > 0.05
