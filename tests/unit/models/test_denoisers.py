"""Denoisers: what their seam promises, whatever stands behind it; and the transformer's own arithmetic."""

import copy
from typing import ClassVar, Literal

import pytest
import tiny
import torch

from rayograph.config import Denoiser, DiT, TrainDiffusion
from rayograph.config.job.denoisers import DenoiserKind
from rayograph.errors import CheckpointError, ConfigError
from rayograph.models.conditioning import Conditioning
from rayograph.models.denoiser import DenoiserNetwork, build_denoiser
from rayograph.models.denoisers.dit import from_patches, positions, to_patches
from rayograph.models.model_folder import DENOISER, load_denoiser, save_model
from rayograph.models.specs import Accepts, DenoiserSpec, Ways, denoiser_spec
from rayograph.runs.artifact import Artifact
from rayograph.storage import open_store

UNET = Denoiser(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=8)
SMALL_DIT = DiT(num_layers=2, num_attention_heads=2, attention_head_dim=8)
KINDS = {"unet": UNET, "dit": SMALL_DIT}


@pytest.fixture(params=KINDS)
def declared(request):
    return KINDS[request.param]


@pytest.fixture
def artifact(tmp_path):
    return Artifact(open_store(str(tmp_path)), "job/train/0000")


def built(declared, side=8):
    """With weights that nobody trained, and none of them zero."""
    torch.manual_seed(0)
    network = build_denoiser(declared, 3, side, Ways(vector=True)).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return network


def asked(network, side=8, count=2, vector=True):
    given = torch.Generator().manual_seed(1)
    latents = torch.randn(count, 3, side, side, generator=given)
    told = torch.randn(count, network.spec.accepts.vector, generator=given)
    return latents, torch.tensor([10, 700])[:count], Conditioning(vector=told if vector else None)


@torch.inference_mode()
def test_a_prediction_has_the_latents_shape_and_heeds_every_input(declared):
    network = built(declared)
    latents, timesteps, conditioning = asked(network)
    prediction = network(latents, timesteps, conditioning)
    assert prediction.shape == latents.shape
    others = [
        (latents + 1, timesteps, conditioning),
        (latents, timesteps + 100, conditioning),
        (latents, timesteps, Conditioning(vector=conditioning.vector + 1)),
    ]
    assert all((network(*other) - prediction).abs().max() > 1e-4 for other in others)


@torch.inference_mode()
def test_a_sample_does_not_depend_on_its_batch(declared):
    network = built(declared)
    latents, timesteps, conditioning = asked(network)
    alone = network(latents[:1], timesteps[:1], Conditioning(vector=conditioning.vector[:1]))
    torch.testing.assert_close(network(latents, timesteps, conditioning)[:1], alone, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_folder_gives_back_spec_and_answers(declared, artifact):
    network = built(declared)
    save_model(artifact, DENOISER, network)
    tiny.commit(artifact)
    again = load_denoiser(artifact)
    assert again.spec == network.spec
    assert torch.equal(again(*asked(network)), network(*asked(network)))
    assert not again.training


def test_a_kind_that_nobody_brought_is_refused_by_its_name(artifact):
    network = built(SMALL_DIT)
    network.declared = SMALL_DIT.model_copy(update={"kind": "mixer"})
    save_model(artifact, DENOISER, network)
    tiny.commit(artifact)
    with pytest.raises(CheckpointError, match="expected denoisers of kind dit, unet, unet_condition, got 'mixer'"):
        load_denoiser(artifact)


def test_the_same_gradients_come_with_activation_checkpointing(declared):
    network, thrifty = built(declared), built(declared)
    thrifty.enable_gradient_checkpointing()
    for trained in (network, thrifty):
        trained.train()
        trained(*asked(trained)).square().mean().backward()
    for (name, weight), other in zip(network.named_parameters(), thrifty.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, other.grad, msg=name)


@pytest.mark.parametrize(("side", "declared", "message"), [
    (6, Denoiser(block_out_channels=(32, 32, 32)), "block_out_channels: 3 levels need a latent grid divisible by 4"),
    (7, SMALL_DIT, "patch_size: expected a divisor of the latent grid 7×7, got 2"),
])  # fmt: skip
def test_a_grid_that_does_not_fit_is_refused_by_field(side, declared, message):
    with pytest.raises(ConfigError, match=message):
        build_denoiser(declared, 3, side)


def test_weights_are_called_what_diffusers_calls_them():
    network = built(UNET)
    assert [*network.state_dict()] == [*network.diffusers_model().state_dict()]


def test_older_jobs_say_no_kind_and_mean_a_unet():
    fields = {"total_images": 1, "global_batch_size": 8}
    assert TrainDiffusion.model_validate({"network": {"num_classes": 3}, **fields}).network == Denoiser(num_classes=3)
    assert TrainDiffusion.model_validate({"network": {"kind": "dit"}, **fields}).network == DiT()


def test_a_configuration_of_another_class_is_refused():
    with pytest.raises(CheckpointError, match="expected a denoiser's configuration, got one of 'AutoencoderKL'"):
        denoiser_spec({"_class_name": "AutoencoderKL"})


def test_the_defaults_are_dit_xl_2_with_as_many_weights_as_published():
    with torch.device("meta"):
        network = build_denoiser(DiT(), 4, 32)
    # 675.1M (Peebles & Xie 2023, table 1), of which 4.6M predict variances, place tokens and embed classes.
    count = sum(weight.numel() for weight in network.parameters())
    unsaid = 1001 * 1152 + 256 * 1152 + (1152 + 1) * 16
    assert count + unsaid == 675_129_632


def test_a_fresh_transformer_predicts_nothing_and_every_block_is_the_identity():
    network = build_denoiser(SMALL_DIT, 3, 8)
    tokens, steering = torch.randn(2, 16, 16), torch.randn(2, 16)
    with torch.inference_mode():
        assert (network(*asked(network)) == 0).all()
        assert all(torch.equal(block(tokens, steering), tokens) for block in network.blocks)


def test_patches_are_taken_row_by_row_and_put_back():
    latents = torch.arange(32.0).view(1, 2, 4, 4)
    patches = to_patches(latents, 2)
    assert patches.shape == (1, 4, 8)
    assert patches[0, 1].tolist() == [2, 3, 6, 7, 18, 19, 22, 23]  # rows 0 and 1, columns 2 and 3, of both channels
    assert torch.equal(from_patches(patches, 2, 2, 2), latents)


def test_positions_tell_all_places_apart_and_those_of_a_larger_grid_lie_between():
    trained, larger = positions(4, 4, 4, 16), positions(8, 8, 4, 16).view(8, 8, 16)
    assert torch.cdist(trained, trained).add(torch.eye(16) * 9).min() > 0.1
    torch.testing.assert_close(larger[::2, ::2].reshape(16, 16), trained)


@torch.inference_mode()
def test_a_transformer_takes_grids_of_other_sizes_and_no_conditioning():
    network = built(SMALL_DIT)
    latents = torch.randn(1, 3, 12, 4)
    assert network(latents, torch.tensor([5]), Conditioning()).shape == latents.shape


@torch.inference_mode()
def test_a_copy_is_another_network(declared):
    network = built(declared)
    other = copy.deepcopy(network)
    for weight in other.parameters():
        weight.zero_()
    assert not torch.equal(network(*asked(network)), other(*asked(network)))


@torch.inference_mode()
def test_channels_of_conditions_stand_beside_the_latents_and_are_heeded(declared, artifact):
    torch.manual_seed(0)
    network = build_denoiser(declared, 3, 8, Ways(vector=True, concat=2)).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    assert (network.spec.in_channels, network.spec.accepts.concat) == (3, 2)
    latents, timesteps, told = asked(network)
    beside = torch.randn(2, 2, 8, 8)
    prediction = network(latents, timesteps, Conditioning(told.vector, concat=beside))
    assert prediction.shape == latents.shape
    other = network(latents, timesteps, Conditioning(told.vector, concat=beside + 1))
    assert (other - prediction).abs().max() > 1e-4
    save_model(artifact, DENOISER, network)
    tiny.commit(artifact)
    again = load_denoiser(artifact)
    assert again.spec == network.spec
    assert torch.equal(again(latents, timesteps, Conditioning(told.vector, concat=beside)), prediction)


def test_tokens_are_refused_by_networks_that_do_not_attend_to_them(declared):
    expected = f"^kind: expected a denoiser that attends to its conditioner's tokens, got '{declared.kind}'$"
    with pytest.raises(ConfigError, match=expected):
        build_denoiser(declared, 3, 8, Ways(cross_attention=True))


class Deaf(DenoiserNetwork):
    """Takes nothing but latents and timesteps."""

    def __init__(self, declared, latent_channels, latent_size, gives):
        super().__init__()
        self.spec = DenoiserSpec(latent_channels, latent_size)

    def forward(self, noisy_latents, timesteps, conditioning):
        return noisy_latents


class Unconditioned(DenoiserKind):
    implemented_by: ClassVar[str | type] = Deaf
    kind: Literal["deaf"] = "deaf"


def test_a_network_that_takes_no_conditions_is_refused_where_there_are_some():
    assert build_denoiser(Unconditioned(), 3, 8).spec.accepts.vector is None
    with pytest.raises(ConfigError, match="expected a denoiser that takes a vector of conditions, got 'deaf'"):
        build_denoiser(Unconditioned(), 3, 8, Ways(vector=True))
    with pytest.raises(
        ConfigError, match="expected a denoiser that takes 2 channels of conditions beside the latents'"
    ):
        build_denoiser(Unconditioned(), 3, 8, Ways(concat=2))


class Listening(Deaf):
    """Needs tokens."""

    def __init__(self, declared, latent_channels, latent_size, gives):
        super().__init__(declared, latent_channels, latent_size, gives)
        self.spec = DenoiserSpec(latent_channels, latent_size, accepts=Accepts(cross_attention=4))


class Needy(DenoiserKind):
    implemented_by: ClassVar[str | type] = Listening
    kind: Literal["needy"] = "needy"


def test_a_way_in_that_nothing_feeds_is_refused():
    with pytest.raises(ConfigError, match="expected a denoiser that needs no tokens to attend to, got 'needy'"):
        build_denoiser(Needy(), 3, 8)
