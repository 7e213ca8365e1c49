"""Weights of the published layout: networks of diffusers' that hold them give what the published networks give."""

import pytest
import torch
from published_first_stage import FirstStage
from published_layout import UNet, disturb

from rayograph.errors import DataError
from rayograph.models.published.first_stage import first_stage
from rayograph.models.published.unet import unet
from rayograph.models.published.unet_layout import Heads, UNetLayout

CLOSE = 2e-5

FIRST_STAGES = {
    "kl-f4": {"widths": (32, 32, 64)},
    "kl-f8": {"widths": (32, 64, 64, 64), "z": 4},
    "kl-f16": {"widths": (32, 32, 32, 32, 64), "z": 16, "attn": (4,)},
    "kl-f32": {"widths": (32, 32, 32, 32, 64, 64), "z": 32, "attn": (4, 5)},
    "vq-f4": {"widths": (32, 64, 64), "codes": 64, "blocks": 2},
    "vq-f4-noattn": {"widths": (32, 64, 64), "codes": 64, "mid": False},
    "vq-f8": {"widths": (32, 32, 32, 64), "codes": 64, "z": 4, "attn": (3,)},
    "vq-f16": {"widths": (32, 32, 32, 32, 64), "codes": 64, "z": 8, "attn": (4,), "embed": 6},
}

UNETS = {
    "celebahq": ({"channels": 64, "mult": (1, 2, 3, 4), "blocks": 2, "attn": (1, 2, 3)}, Heads(channels=32)),
    "churches": (
        {"channels": 32, "mult": (1, 2, 2, 4, 4), "blocks": 2, "attn": (0, 1, 2, 3), "scale_shift": True,
         "resblock_updown": True, "inputs": 4, "outputs": 4}, Heads(8),
    ),
    "imagenet-f8": ({"mult": (1, 2, 4), "blocks": 2, "attn": (0, 1, 2), "context": 16}, Heads(channels=32)),
    "imagenet-f4": ({"mult": (1, 2, 3, 5), "blocks": 2, "attn": (1, 2, 3), "context": 16}, Heads(1)),
    "text-f8": ({"mult": (1, 2, 4, 4), "attn": (0, 1, 2), "context": 24, "inputs": 4, "outputs": 4}, Heads(8)),
    "layout": ({"mult": (1, 2, 3, 4), "attn": (1, 2, 3), "context": 16, "depth": 3}, Heads(channels=32)),
    "semantic": ({"mult": (1, 2, 4), "attn": (), "inputs": 6}, Heads(8)),
    "inpainting": ({"mult": (1, 2, 3, 4), "attn": (1, 2, 3), "inputs": 7, "resblock_updown": True}, Heads(8)),
    "superresolution": ({"mult": (1, 2, 2, 4), "attn": (3,), "inputs": 6, "blocks": 2}, Heads(channels=32)),
}  # fmt: skip


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", FIRST_STAGES)
def test_a_first_stage_encodes_and_decodes_as_the_published_one(name):
    published = disturb(FirstStage(**FIRST_STAGES[name]))
    found = first_stage(published.state_dict(), name)
    images = random(2, 3, 64, 64)
    with torch.inference_mode():
        encoded = published.encode(images)
        ours = found.encode(images)
        latents = ours.latents if "codes" in FIRST_STAGES[name] else ours.latent_dist.parameters
        raw = encoded if "codes" in FIRST_STAGES[name] else encoded.chunk(2, dim=1)[0]
        assert (latents - encoded).abs().max() <= CLOSE
        assert (found.decode(raw).sample - published.decode(raw)).abs().max() <= CLOSE
    assert sum(map(torch.Tensor.numel, published.parameters())) == sum(map(torch.Tensor.numel, found.parameters()))


@pytest.mark.parametrize("name", UNETS)
def test_a_denoiser_predicts_as_the_published_one(name):
    options, heads = UNETS[name]
    said = {"heads": heads.number, "head_channels": heads.channels}
    published = disturb(UNet(**options, **said))
    found = unet(published.state_dict(), heads, 16, name)
    noisy, timesteps = random(2, options.get("inputs", 3), 16, 16), torch.tensor([3, 801])
    context = random(2, 5, options["context"], seed=1) if "context" in options else None
    with torch.inference_mode():
        expected = published(noisy, timesteps, context)
        told = {} if context is None else {"encoder_hidden_states": context}
        assert (found(noisy, timesteps, **told).sample - expected).abs().max() <= CLOSE
    assert expected.std() > 0.05
    assert sum(map(torch.Tensor.numel, published.parameters())) == sum(map(torch.Tensor.numel, found.parameters()))


def test_heads_that_differ_from_what_was_trained_show():
    published = disturb(UNet(**UNETS["churches"][0], heads=8))
    wrong = unet(published.state_dict(), Heads(4), 16, "churches")
    noisy = random(1, 4, 16, 16)
    with torch.inference_mode():
        assert (wrong(noisy, 5).sample - published(noisy, torch.tensor([5]))).abs().max() > 1e-3
    with pytest.raises(DataError, match="churches: expected heads that divide 32 channels, got 5 heads"):
        unet(published.state_dict(), Heads(5), 16, "churches")


def test_a_topology_is_read_from_the_weights():
    options, _ = UNETS["churches"]
    layout = UNetLayout.of(UNet(**options, heads=8).state_dict(), "churches")
    assert layout == UNetLayout(
        4, 4, (32, 64, 64, 128, 128), 2, (True, True, True, True, False), True, True, True, None, 1
    )


def without(weights, name):
    return {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize(("spoil", "said"), [
    (lambda weights: weights | {"encoder.extra.weight": torch.ones(1)}, "left over encoder.extra.weight"),
    (lambda weights: without(weights, "decoder.up.0.block.0.conv1.bias"),
     "missing decoder.up_blocks.1.resnets.0.conv1.bias"),
    (lambda weights: weights | {"decoder.norm_out.bias": torch.ones(7)}, "expected decoder.conv_norm_out.bias of"),
    (lambda weights: {}, "expected a first stage's weights"),
    (lambda weights: weights | {"loss.discriminator.main.0.weight": torch.ones(3)}, None),
])  # fmt: skip
def test_every_weight_of_a_first_stage_is_accounted_for(spoil, said):
    weights = FirstStage().state_dict()
    if said is None:
        first_stage(spoil(weights), "kl")
        return
    with pytest.raises(DataError) as caught:
        first_stage(spoil(weights), "kl")
    assert said in str(caught.value)
    assert str(caught.value).startswith("kl: ")


@pytest.mark.parametrize(("spoil", "said"), [
    (lambda weights: weights | {"label_emb.weight": torch.ones(1)}, "left over label_emb.weight"),
    (lambda weights: without(weights, "output_blocks.0.0.in_layers.0.bias"),
     "missing up_blocks.0.resnets.0.norm1.bias"),
    (lambda weights: {}, "expected a denoiser's weights"),
])  # fmt: skip
def test_every_weight_of_a_denoiser_is_accounted_for(spoil, said):
    weights = UNet(heads=8).state_dict()
    with pytest.raises(DataError) as caught:
        unet(spoil(weights), Heads(8), 8, "ldm")
    assert said in str(caught.value)
