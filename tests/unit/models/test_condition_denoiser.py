"""The denoiser that attends to tokens: what it heeds, how many heads it has, what its folder keeps."""

import pytest
import tiny
import torch
from diffusers import UNet2DConditionModel, UNet2DModel

from rayograph.conditioning.trained import conditioned, conditioner_of
from rayograph.config import (
    Autoencoder,
    ClassLabel,
    ConditionDenoiser,
    Denoiser,
    Job,
    Pack,
    Scale,
    SklearnDigits,
    TrainDiffusion,
)
from rayograph.errors import CheckpointError, ConfigError
from rayograph.models.autoencoder import build_autoencoder
from rayograph.models.conditioning import Conditioning
from rayograph.models.denoiser import build_denoiser
from rayograph.models.model_folder import DENOISER, load_denoiser, save_model
from rayograph.models.specs import Accepts, LatentShape, Ways, denoiser_spec
from rayograph.runs.artifact import Artifact
from rayograph.stages.stage import CheckContext
from rayograph.stages.train_diffusion import TrainDiffusionStage
from rayograph.storage import open_store
from rayograph.training.diffusion_learner import build_networks
from rayograph.training.estimate import diffusion_cost

SMALL = ConditionDenoiser(
    block_out_channels=(8, 16), layers_per_block=1, attention_levels=(1,), num_attention_heads=(1, 2),
    cross_attention_dim=12, norm_num_groups=4,
)  # fmt: skip
ALL = Ways(vector=True, cross_attention=True, concat=2)
RECIPE = TrainDiffusion(
    network=SMALL, conditioner=ClassLabel(num_classes=3, way="cross_attention"), total_images=8, global_batch_size=8
)


def built(declared=SMALL, gives=ALL, seed=0):
    """With weights that nobody trained, and none of them zero."""
    torch.manual_seed(seed)
    network = build_denoiser(declared, 3, 8, gives).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return network


def random(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def told(**other):
    """Two samples of four tokens."""
    parts = {"vector": random(2, 32), "cross_attention": random(2, 4, 12), "concat": random(2, 2, 8, 8)}
    return Conditioning(**parts | other)


LATENTS, TIMESTEPS = random(2, 3, 8, 8, seed=2), torch.tensor([10, 700])


@pytest.fixture
def artifact(tmp_path):
    return Artifact(open_store(str(tmp_path)), "job/train/0000")


@torch.inference_mode()
def test_every_way_in_is_heeded_and_told_of_in_the_spec():
    network = built()
    assert network.spec.accepts == Accepts(vector=32, cross_attention=12, concat=2)
    assert network.spec.in_channels == 3
    prediction = network(LATENTS, TIMESTEPS, told())
    assert prediction.shape == LATENTS.shape
    for name in ("vector", "cross_attention", "concat"):
        other = network(LATENTS, TIMESTEPS, told(**{name: getattr(told(), name) + 1}))
        assert (other - prediction).abs().max() > 1e-4, name


@torch.inference_mode()
def test_a_token_that_is_masked_is_as_good_as_none():
    network = built()
    mask = torch.tensor([[True, True, True, False]] * 2)
    shorter = network(LATENTS, TIMESTEPS, told(cross_attention=told().cross_attention[:, :3]))
    masked = network(LATENTS, TIMESTEPS, told(cross_attention_mask=mask))
    torch.testing.assert_close(masked, shorter, atol=1e-5, rtol=0)
    assert (network(LATENTS, TIMESTEPS, told()) - shorter).abs().max() > 1e-4


@torch.inference_mode()
def test_a_folder_gives_back_spec_and_answers_and_diffusers_opens_it(artifact):
    network = built()
    save_model(artifact, DENOISER, network)
    tiny.commit(artifact)
    again = load_denoiser(artifact)
    assert again.spec == network.spec
    expected = network(LATENTS, TIMESTEPS, told())
    assert torch.equal(again(LATENTS, TIMESTEPS, told()), expected)
    theirs = UNet2DConditionModel.from_pretrained(artifact.store.uri_of(artifact.key(DENOISER)).removeprefix("file://"))
    inputs = torch.cat([LATENTS, told().concat], dim=1)
    with_vector = theirs.eval()(inputs, TIMESTEPS, told().cross_attention, class_labels=told().vector).sample
    assert torch.equal(with_vector, expected)


def test_the_same_gradients_come_with_activation_checkpointing():
    network, thrifty = built(), built()
    thrifty.enable_gradient_checkpointing()
    for trained in (network, thrifty):
        trained.train()
        trained(LATENTS, TIMESTEPS, told()).square().mean().backward()
    for (name, weight), other in zip(network.named_parameters(), thrifty.parameters(), strict=True):
        torch.testing.assert_close(weight.grad, other.grad, msg=name)


def heads(network):
    """By the channels of what attends."""
    return {
        (module.inner_dim, module.heads)
        for part in network.modules()
        for module in part.children()
        if type(module).__name__ == "Attention"
    }


@pytest.mark.parametrize(("said", "expected"), [
    ({"num_attention_heads": 4}, {(16, 4), (32, 4)}),
    ({"num_attention_heads": (1, 2, 8)}, {(16, 2), (32, 8)}),
    ({"attention_head_dim": 8}, {(16, 2), (32, 4)}),
])  # fmt: skip
def test_heads_are_said_by_number_by_level_or_by_channels(said, expected):
    declared = ConditionDenoiser(
        block_out_channels=(8, 16, 32), layers_per_block=1, attention_levels=(1, 2), norm_num_groups=4, **said
    )
    assert heads(build_denoiser(declared, 3, 8, Ways(cross_attention=True))) == expected


@torch.inference_mode()
def test_a_number_of_heads_that_no_argument_says_survives_the_folder(artifact):
    declared = Denoiser(
        block_out_channels=(8, 16, 32), layers_per_block=1, attention_levels=(1, 2), norm_num_groups=4,
        num_attention_heads=4, resample_type="resnet", resnet_time_scale_shift="scale_shift",
    )  # fmt: skip
    network = built(declared, Ways())
    assert heads(network) == {(16, 4), (32, 4)}
    save_model(artifact, DENOISER, network)
    tiny.commit(artifact)
    again = load_denoiser(artifact)
    assert heads(again) == heads(network)
    expected = network(LATENTS, TIMESTEPS, Conditioning())
    assert torch.equal(again(LATENTS, TIMESTEPS, Conditioning()), expected)
    plain = UNet2DModel.from_config(network.diffusers_model().config)
    plain.load_state_dict(network.state_dict())
    assert (plain(LATENTS, TIMESTEPS).sample - expected).abs().max() > 1e-4, "heads make no difference here"


def test_residual_blocks_halve_and_double_the_grid():
    declared = Denoiser(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=8)
    plain, residual = (
        build_denoiser(declared.model_copy(update={"resample_type": kind}), 3, 8) for kind in ("conv", "resnet")
    )
    samplers = [*residual.down_blocks[0].downsamplers, *residual.up_blocks[0].upsamplers]
    assert [type(module).__name__ for module in samplers] == ["ResnetBlock2D"] * 2
    assert sum(map(torch.numel, residual.parameters())) > sum(map(torch.numel, plain.parameters()))
    assert residual(LATENTS, TIMESTEPS, Conditioning()).shape == LATENTS.shape


@pytest.mark.parametrize("codebook_size", [None, 16])
def test_blocks_of_an_autoencoder_attend_at_the_levels_that_are_said(codebook_size):
    declared = Autoencoder(
        block_out_channels=(8, 8, 16), layers_per_block=1, norm_num_groups=4, attention_levels=(1,),
        codebook_size=codebook_size, mid_block_add_attention=False,
    )  # fmt: skip
    network = build_autoencoder(declared)
    attending = [hasattr(block, "attentions") for block in network.encoder.down_blocks]
    assert attending == [False, True, False]
    assert [hasattr(block, "attentions") for block in network.decoder.up_blocks] == attending[::-1]
    assert network.decode(network.encode(random(1, 3, 16, 16)).chunk(2, dim=1)[0]).shape == (1, 3, 16, 16)


@pytest.mark.parametrize(("said", "message"), [
    ({"num_attention_heads": 3}, "num_attention_heads: expected a divisor of 320, the channels of a level"),
    ({"attention_head_dim": 7}, "attention_head_dim: expected a divisor of 320, the channels of a level"),
    ({"num_attention_heads": (8, 8)}, "num_attention_heads: expected one number, or one for each of 4 levels, got"),
    ({"transformer_layers_per_block": (1,)}, "transformer_layers_per_block: expected one number, or one for each of 4"),
    ({"attention_levels": (4,)}, "attention_levels: expected 0 to 3, got 4"),
    ({"norm_num_groups": 48}, "norm_num_groups: expected a divisor"),
])  # fmt: skip
def test_what_no_network_can_be_built_of_is_refused_by_field(said, message):
    with pytest.raises(ValueError, match=message):
        ConditionDenoiser(**{"attention_levels": (0, 1, 2)} | said)


def test_an_autoencoders_levels_are_checked():
    with pytest.raises(ValueError, match=r"attention_levels: expected each once, got \(1, 1\)"):
        Autoencoder(attention_levels=(1, 1))


NO_TOKENS = "cross_attention_dim: expected a conditioner that gives tokens to attend to, got none"


def test_it_is_refused_without_tokens():
    with pytest.raises(ConfigError, match=f"^{NO_TOKENS}$"):
        build_denoiser(SMALL, 3, 8, Ways(vector=True))


@pytest.mark.parametrize(("network", "conditioner", "message"), [
    (SMALL, ClassLabel(num_classes=3), NO_TOKENS),
    (SMALL, None, NO_TOKENS),
    (Denoiser(), ClassLabel(num_classes=3, way="cross_attention"), "kind: expected a denoiser that attends to its"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused_before_anything_starts(network, conditioner, message):
    said = TrainDiffusion(network=network, conditioner=conditioner, images="pack", total_images=8, global_batch_size=8)
    job = Job(name="j", stages={"pack": Pack(source=SklearnDigits(), image_size=32), "train": said})
    with pytest.raises(ConfigError, match=rf"^train\.network\.{message}"):
        TrainDiffusionStage().check(said, CheckContext(job, Scale(), "train"))


@pytest.mark.parametrize(("field", "value"), [
    ("addition_embed_type", "text_time"), ("encoder_hid_dim_type", "text_proj"), ("num_class_embeds", 1000),
    ("class_embed_type", "timestep"), ("cross_attention_dim", [8, 16]),
])  # fmt: skip
def test_networks_that_want_more_are_refused_by_field(field, value):
    config = dict(built().diffusers_model().config) | {"_class_name": "UNet2DConditionModel", field: value}
    with pytest.raises(CheckpointError, match=f"expected a UNet2DConditionModel .*{field}"):
        denoiser_spec(config)


@torch.inference_mode()
def test_a_class_can_be_the_token_that_is_attended_to():
    denoiser, trained = build_networks(RECIPE, LatentShape(3, 8))
    assert denoiser.spec.accepts == Accepts(cross_attention=12)
    assert trained.network.embedding.weight.shape == (4, 12)
    said = trained.network.embed({"class": torch.tensor([0, 2])})
    assert said.vector is None
    assert torch.equal(said.cross_attention, trained.network.embedding.weight[[0, 2]][:, None])
    nothing = trained.network.null(2)
    assert torch.equal(nothing.cross_attention[:, 0], trained.network.embedding.weight[[3, 3]])
    told, untold = (denoiser(LATENTS, TIMESTEPS, one) for one in (said, nothing))
    assert (told - untold).abs().max() > 1e-5


def test_the_way_of_a_class_is_kept_by_its_conditioner():
    declared = ClassLabel(way="cross_attention")
    conditioner = conditioner_of(declared, {"class_names": ["a", "b"]})
    assert conditioner.declared == ClassLabel(num_classes=2, way="cross_attention")
    assert conditioner.gives(LatentShape(3, 8)) == Ways(cross_attention=True)
    assert conditioned(built(gives=Ways(cross_attention=True)), conditioner).network.embedding.weight.shape == (3, 12)


def test_its_cost_is_counted_with_its_conditioner():
    cost = diffusion_cost(RECIPE, LatentShape(3, 8))
    denoiser, trained = build_networks(RECIPE, LatentShape(3, 8))
    weights = [*denoiser.parameters(), *trained.network.parameters()]
    assert cost.parameters["denoiser"] == sum(map(torch.numel, weights))
