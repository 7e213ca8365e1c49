"""The networks behind their calls: shapes, exact inverses, and folders that come back whole or are refused."""

import json
import pickle

import numpy as np
import pytest
import tiny
import torch
from diffusers import AutoencoderKL, DDPMScheduler, FlowMatchEulerDiscreteScheduler, UNet2DModel
from hypothesis import given
from hypothesis import strategies as st

from rayograph.config import Autoencoder, Denoiser, Discriminator, FlowSchedule, NoiseSchedule
from rayograph.errors import CheckpointError, ConfigError, DataError
from rayograph.models.autoencoder import (
    build_autoencoder,
    posterior_sample,
    reconstruct,
    to_images,
    to_pixels,
)
from rayograph.models.conditioning import Conditioning
from rayograph.models.denoiser import build_denoiser
from rayograph.models.discriminator import PatchDiscriminator
from rayograph.models.model_folder import (
    AUTOENCODER,
    DENOISER,
    SCHEDULE,
    load_autoencoder,
    load_denoiser,
    load_schedule,
    save_model,
)
from rayograph.models.normalisation import LatentNormalisation
from rayograph.models.schedule import build_schedule
from rayograph.runs.artifact import Artifact
from rayograph.storage import open_store


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def artifact(tmp_path):
    return Artifact(open_store(str(tmp_path)), "digits/train/key")


def test_pixels_come_back_from_images_exactly():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).repeat(2, 1, 1, 3)
    images = to_images(pixels)
    assert images.shape == (2, 3, 16, 16)
    assert (images.min(), images.max()) == (-1.0, 1.0)
    assert torch.equal(to_pixels(images), pixels)


def test_overshoot_is_cut_off_not_wrapped_around():
    images = torch.tensor([-9.0, -1.001, 1.001, 9.0]).reshape(1, 1, 2, 2)
    assert to_pixels(images).flatten().tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_an_autoencoder_divides_the_grid_by_its_factor_and_gives_it_back(levels):
    declared = Autoencoder(
        latent_channels=4,
        block_out_channels=(8,) * levels,
        layers_per_block=1,
        norm_num_groups=4,
        mid_block_add_attention=False,
    )
    network = build_autoencoder(declared)
    side = 16 // declared.downsampling_factor
    with torch.inference_mode():
        moments = network.encode(random(2, 3, 16, 16))
        assert moments.shape == (2, 8, side, side)
        assert network.decode(moments[:, :4]).shape == (2, 3, 16, 16)
    assert network.diffusers_model().config.scaling_factor == 1.0


def test_a_posterior_sample_is_mean_plus_std_times_noise():
    mean, logvar, noise = random(2, 3, 4, 4), random(2, 3, 4, 4, seed=1), random(2, 3, 4, 4, seed=2)
    moments = torch.cat([mean, logvar], dim=1)
    torch.testing.assert_close(posterior_sample(moments, noise), mean + (logvar / 2).exp() * noise)
    assert torch.equal(posterior_sample(moments, torch.zeros_like(noise)), mean)


@pytest.mark.parametrize("logvar", [-1e6, 1e6])
def test_an_absurd_variance_stays_finite(logvar):
    moments = torch.cat([torch.zeros(1, 2, 2, 2), torch.full((1, 2, 2, 2), logvar)], dim=1)
    assert posterior_sample(moments, torch.ones(1, 2, 2, 2)).isfinite().all()


def test_reconstructions_do_not_depend_on_the_batch_size():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)
    network = tiny.autoencoder()
    whole, single = reconstruct(network, pixels, 5), reconstruct(network, pixels, 2)
    assert whole.shape == pixels.shape
    assert np.abs(whole.astype(int) - single).max() <= 1


def test_a_reconstruction_that_is_not_finite_is_named_and_never_a_picture():
    network = tiny.autoencoder()
    with torch.no_grad():
        next(network.decoder.parameters()).fill_(float("nan"))
    pixels = np.zeros((3, 8, 8, 3), np.uint8)
    with pytest.raises(DataError, match=r"^c: expected finite reconstructions"):
        reconstruct(network, pixels[2:], names=["c"])
    with pytest.raises(DataError, match=r"^image 0, image 1: expected finite reconstructions"):
        reconstruct(network, pixels, 2)


@given(
    mean=st.tuples(*[st.floats(-10, 10)] * 2),
    std=st.tuples(*[st.floats(0.01, 10)] * 2),
)
def test_unscaling_undoes_scaling(mean, std):
    scale = LatentNormalisation(mean, std)
    latents = random(3, 2, 4, 4)
    torch.testing.assert_close(scale.normalise(scale.denormalise(latents)), latents, rtol=1e-3, atol=1e-2)


def test_scaling_gives_every_channel_mean_zero_and_deviation_one():
    raw = random(64, 2, 4, 4) * torch.tensor([3.0, 0.1])[:, None, None] + torch.tensor([5.0, -2.0])[:, None, None]
    mean, std = raw.mean(dim=(0, 2, 3)), raw.std(dim=(0, 2, 3))
    scaled = LatentNormalisation(tuple(mean.tolist()), tuple(std.tolist())).normalise(raw)
    torch.testing.assert_close(scaled.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.std(dim=(0, 2, 3)), torch.ones(2), atol=1e-4, rtol=0)


def test_the_scale_is_kept_in_the_autoencoders_folder(artifact):
    network = tiny.autoencoder()
    tiny.SCALE.keep_in(network)
    save_model(artifact, AUTOENCODER, network)
    tiny.commit(artifact)
    assert LatentNormalisation.kept_in(load_autoencoder(artifact)) == tiny.SCALE


def test_an_autoencoder_without_a_scale_is_refused():
    with pytest.raises(CheckpointError, match="expected latents_mean and latents_std in its configuration"):
        LatentNormalisation.kept_in(tiny.autoencoder())


def test_a_saved_autoencoder_comes_back_with_the_same_answers(artifact):
    network = tiny.autoencoder()
    save_model(artifact, AUTOENCODER, network)
    tiny.commit(artifact)
    again = load_autoencoder(artifact)
    images = random(2, 3, 8, 8)
    with torch.inference_mode():
        assert torch.equal(again.encode(images), network.encode(images))
    assert not again.training


def test_a_first_stage_with_a_codebook_decodes_the_nearest_codes_and_comes_back_the_same(artifact):
    torch.manual_seed(0)
    network = build_autoencoder(tiny.AUTOENCODER.model_copy(update={"codebook_size": 8})).eval()
    tiny.SCALE.keep_in(network)
    images = random(2, 3, 8, 8)
    with torch.inference_mode():
        moments = network.encode(images)
        mean = posterior_sample(moments, torch.randn(2, 2, 4, 4))
        torch.testing.assert_close(mean, moments.chunk(2, dim=1)[0], atol=1e-5, rtol=0)  # no chance in it
        codes = network.nearest_codes(mean)
        distances = torch.cdist(mean.permute(0, 2, 3, 1).reshape(-1, 2), network.quantize.embedding.weight)
        nearest = network.quantize.embedding.weight[distances.argmin(dim=1)].reshape(2, 4, 4, 2).permute(0, 3, 1, 2)
        assert torch.equal(codes, nearest)
        torch.testing.assert_close(network.decode(mean), network.decode(codes))
        save_model(artifact, AUTOENCODER, network)
        tiny.commit(artifact)
        again = load_autoencoder(artifact)
        assert torch.equal(again.decode(mean), network.decode(mean))
    assert LatentNormalisation.kept_in(again) == tiny.SCALE


def test_a_saved_denoiser_and_schedule_come_back_the_same(artifact):
    network = tiny.denoiser()
    vector = network.take_class_embedding()["weight"][:2]
    schedule = build_schedule(NoiseSchedule(beta_start=0.002, prediction_type="v_prediction"))
    save_model(artifact, DENOISER, network)
    save_model(artifact, SCHEDULE, schedule)
    tiny.commit(artifact)
    arguments = random(2, 2, 4, 4), torch.tensor([3, 999]), Conditioning(vector=vector)
    with torch.inference_mode():
        assert torch.equal(load_denoiser(artifact)(*arguments), network(*arguments))
    again = load_schedule(artifact)
    assert torch.equal(again.alphas_cumprod, schedule.alphas_cumprod)
    assert again.config.prediction_type == "v_prediction"


def test_a_saved_flow_comes_back_as_one(artifact):
    save_model(artifact, SCHEDULE, build_schedule(FlowSchedule(num_train_timesteps=500, shift=3.0)))
    tiny.commit(artifact)
    again = load_schedule(artifact)
    assert isinstance(again, FlowMatchEulerDiscreteScheduler)
    assert (again.config.num_train_timesteps, again.config.shift) == (500, 3.0)


def test_folders_are_diffusers_own_and_hold_no_pickle(artifact, tmp_path):
    save_model(artifact, AUTOENCODER, tiny.autoencoder())
    save_model(artifact, DENOISER, tiny.denoiser())
    save_model(artifact, SCHEDULE, build_schedule(NoiseSchedule()))
    assert {name.rpartition(".")[2] for name in artifact.names()} == {"json", "safetensors"}
    folder = tmp_path / "digits/train/key"
    for kind, name in ((AutoencoderKL, AUTOENCODER), (UNet2DModel, DENOISER), (DDPMScheduler, SCHEDULE)):
        assert isinstance(kind.from_pretrained(str(folder / name), local_files_only=True), kind)


def test_saving_twice_gives_the_same_bytes(artifact, tmp_path):
    other = Artifact(open_store(str(tmp_path)), "digits/train/other")
    for place in (artifact, other):
        save_model(place, DENOISER, tiny.denoiser())
    assert artifact.records("") == other.records("")


WEIGHTS = f"{AUTOENCODER}/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (WEIGHTS, lambda data: data[: len(data) // 2]),
        (WEIGHTS, lambda data: b""),
        (WEIGHTS, lambda data: None),
        (f"{AUTOENCODER}/config.json", lambda data: data[:-5]),
        (f"{AUTOENCODER}/config.json", lambda data: None),
        (
            f"{AUTOENCODER}/config.json",
            lambda data: json.dumps(json.loads(data) | {"latent_channels": 3}).encode(),
        ),
    ],
)
def test_a_model_folder_that_is_not_whole_is_refused_by_its_place_in_one_line(artifact, name, change):
    """It was committed so: a half folder has its sha256 too."""
    save_model(artifact, AUTOENCODER, tiny.autoencoder())
    data = change(artifact.read(name))
    artifact.store.delete(artifact.key(name)) if data is None else artifact.write(name, data)
    tiny.commit(artifact)
    with pytest.raises(CheckpointError, match=f"{artifact.uri}/model/vae: expected") as refusal:
        load_autoencoder(artifact)
    assert "\n" not in str(refusal.value)


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("name", [WEIGHTS, f"{AUTOENCODER}/config.json"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: flipped(data, len(data) // 2), "sha256 differs from the manifest's"),
        (lambda data: flipped(data, len(data) - 1), "sha256 differs from the manifest's"),
        (lambda data: data + b" ", r"expected \d+ bytes, found \d+"),
        (lambda data: data[:-1], r"expected \d+ bytes, found \d+"),
        (lambda data: None, "missing"),
    ],
)
def test_a_file_that_is_not_the_committed_one_is_refused_by_its_name(artifact, name, change, reason):
    save_model(artifact, AUTOENCODER, tiny.autoencoder())
    tiny.commit(artifact)
    data = change(artifact.read(name))
    artifact.store.delete(artifact.key(name)) if data is None else artifact.write(name, data)
    with pytest.raises(DataError, match=f"^{artifact.uri}/{name}: {reason}$"):
        load_autoencoder(artifact)


@pytest.mark.parametrize("name", ["model.safetensors", "diffusion_pytorch_model.safetensors.index.json", "a/b.json"])
def test_a_file_too_many_in_a_model_folder_is_refused_by_its_name(artifact, name):
    """diffusers would take some of them for the weights."""
    save_model(artifact, AUTOENCODER, tiny.autoencoder())
    tiny.commit(artifact)
    artifact.write(f"{AUTOENCODER}/{name}", b"{}")
    with pytest.raises(DataError, match=f"^{artifact.uri}/{AUTOENCODER}/{name}: not among the files"):
        load_autoencoder(artifact)


def test_weights_of_another_network_of_the_same_size_are_refused(artifact):
    save_model(artifact, AUTOENCODER, tiny.autoencoder(seed=0))
    tiny.commit(artifact)
    save_model(artifact, AUTOENCODER, tiny.autoencoder(seed=1))
    with pytest.raises(DataError, match=f"{WEIGHTS}: sha256 differs from the manifest's"):
        load_autoencoder(artifact)


def test_a_large_file_is_copied_piece_by_piece_and_checked_as_a_whole(artifact, tmp_path, monkeypatch):
    monkeypatch.setattr("rayograph.runs.artifact.COPY_BYTES", 1000)
    data = bytes(range(256)) * 40
    artifact.write("model/a/b.bin", data)
    manifest = tiny.commit(artifact)
    assert artifact.copy(manifest, "model", tmp_path / "copy") == ["a/b.bin"]
    assert (tmp_path / "copy/a/b.bin").read_bytes() == data


def test_nothing_is_loaded_from_a_folder_that_nobody_committed(artifact):
    save_model(artifact, AUTOENCODER, tiny.autoencoder())
    with pytest.raises(DataError, match="expected a committed artifact"):
        load_autoencoder(artifact)


def test_a_model_that_was_loaded_is_saved_with_the_same_bytes(artifact, tmp_path):
    """diffusers notes in the configuration where a model came from."""
    save_model(artifact, AUTOENCODER, tiny.autoencoder())
    tiny.commit(artifact)
    again = Artifact(open_store(str(tmp_path / "again")), "")
    save_model(again, AUTOENCODER, load_autoencoder(artifact))
    assert again.records("model/") == artifact.records("model/")
    assert b"/tmp" not in again.read(f"{AUTOENCODER}/config.json")


def test_a_folder_that_is_not_there_is_refused_by_its_place(artifact):
    tiny.commit(artifact)
    with pytest.raises(CheckpointError, match="model/unet: expected a UNet2DModel in diffusers' layout, found nothing"):
        load_denoiser(artifact)


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle was run')",)


def test_pickled_weights_are_never_loaded(artifact):
    save_model(artifact, AUTOENCODER, tiny.autoencoder())
    artifact.store.delete(artifact.key(WEIGHTS))
    artifact.write(f"{AUTOENCODER}/diffusion_pytorch_model.bin", pickle.dumps(Evil()))
    tiny.commit(artifact)
    with pytest.raises(CheckpointError, match="model/vae: expected a whole AutoencoderKL"):
        load_autoencoder(artifact)


def test_a_grid_that_cannot_be_halved_often_enough_is_refused():
    with pytest.raises(ConfigError, match="3 levels need a latent grid divisible by 4, got 6"):
        build_denoiser(Denoiser(block_out_channels=(32, 32, 32)), 3, 6)


def test_a_denoiser_without_classes_needs_none():
    with torch.inference_mode():
        found = tiny.denoiser(num_classes=0)(random(2, 2, 4, 4), torch.tensor([1, 2]), Conditioning())
    assert found.shape == (2, 2, 4, 4)


@pytest.mark.parametrize(("layers", "size", "patches"), [(2, 32, 6), (3, 32, 2), (3, 256, 30)])
def test_the_discriminator_gives_a_logit_a_patch(layers, size, patches):
    network = PatchDiscriminator(Discriminator(base_channels=8, num_layers=layers), 3)
    with torch.inference_mode():
        assert network(random(2, 3, size, size)).shape == (2, 1, patches, patches)


def test_an_images_logits_do_not_depend_on_the_batch_around_it():
    network = PatchDiscriminator(Discriminator(base_channels=8, num_layers=2), 3)
    images = random(4, 3, 32, 32)
    with torch.inference_mode():
        alone = torch.cat([network(image[None]) for image in images])
        torch.testing.assert_close(network(images), alone, rtol=1e-3, atol=1e-5)


def test_a_logit_sees_a_patch_of_the_papers_size():
    network = PatchDiscriminator(Discriminator(base_channels=4, num_layers=2), 3)
    images = random(1, 3, 64, 64).requires_grad_()
    # The norms between see the whole image, so it is the convolutions' reach that counts.
    convolutions = torch.nn.Sequential(*(layer for layer in network.layers if isinstance(layer, torch.nn.Conv2d)))
    convolutions(images)[0, 0, 7, 7].backward()
    touched = images.grad[0].abs().sum(0).nonzero()
    assert (touched.max(0).values - touched.min(0).values + 1).tolist() == [34, 34]


@pytest.mark.parametrize("shift", ["default", "scale_shift"])
def test_the_middle_attention_has_its_norm_however_time_comes_in(shift):
    declared = Denoiser(
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=8,
        resnet_time_scale_shift=shift,
    )
    (attention,) = build_denoiser(declared, 2, 4).mid_block.attentions
    assert attention.group_norm.num_groups == 4


@given(
    widths=st.lists(st.integers(1, 24), min_size=1, max_size=3),
    groups=st.integers(1, 8),
    head=st.integers(1, 12),
    attends=st.sets(st.integers(0, 2)),
    middle=st.booleans(),
)
def test_what_a_declaration_lets_through_can_be_built(widths, groups, head, attends, middle):
    side = 2 ** len(widths)
    try:
        declared = Denoiser(
            block_out_channels=tuple(width * 2 for width in widths),
            layers_per_block=1,
            norm_num_groups=groups,
            attention_head_dim=head,
            attention_levels=tuple(attends),
            mid_block_attention=middle,
        )
    except ValueError:
        return
    network = build_denoiser(declared, 2, side)
    with torch.inference_mode():
        assert network(torch.zeros(1, 2, side, side), torch.zeros(1), Conditioning()).shape == (
            1,
            2,
            side,
            side,
        )


@given(width=st.integers(1, 40), layers=st.integers(1, 4))
def test_a_discriminator_that_a_declaration_lets_through_judges_its_smallest_image(width, layers):
    try:
        declared = Discriminator(base_channels=width, num_layers=layers)
    except ValueError:
        return
    network, side = PatchDiscriminator(declared, 3), declared.smallest_image
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, side, side)).numel() == 1
