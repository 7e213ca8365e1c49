"""First stages: what their seam promises, whatever stands behind it."""

import dataclasses

import pytest
import tiny
import torch

from rayograph.config import Autoencoder, Identity, TrainAutoencoder
from rayograph.errors import CheckpointError, ConfigError
from rayograph.models.autoencoder import build_autoencoder
from rayograph.models.model_folder import AUTOENCODER, load_autoencoder, save_model
from rayograph.models.specs import autoencoder_spec
from rayograph.runs.artifact import Artifact
from rayograph.storage import open_store

KINDS = {
    "kl": tiny.AUTOENCODER,
    "vq": tiny.AUTOENCODER.model_copy(update={"codebook_size": 8}),
    "identity": Identity(),
}


@pytest.fixture
def artifact(tmp_path):
    return Artifact(open_store(str(tmp_path)), "job/train/0000")


@pytest.fixture(params=KINDS)
def declared(request):
    return KINDS[request.param]


def test_the_spec_tells_the_shapes_that_the_network_gives(declared):
    network = build_autoencoder(declared).eval()
    spec, images = network.spec, torch.rand(2, 3, 8, 8) * 2 - 1
    side = 8 // spec.factor
    with torch.inference_mode():
        moments = network.encode(images)
        assert moments.shape == (2, 2 * spec.latent_channels, side, side)
        assert network.decode(moments.chunk(2, dim=1)[0]).shape == images.shape
    assert (declared.downsampling_factor, declared.latent_channels) == (spec.factor, spec.latent_channels)


def test_a_folder_gives_back_spec_statistics_and_answers(declared, artifact):
    network = build_autoencoder(declared).eval()
    numbers = tuple(0.5 + i for i in range(declared.latent_channels))
    network.spec = dataclasses.replace(network.spec, latents_mean=numbers, latents_std=numbers)
    save_model(artifact, AUTOENCODER, network)
    tiny.commit(artifact)
    again, images = load_autoencoder(artifact), torch.rand(2, 3, 8, 8)
    assert again.spec == network.spec
    with torch.inference_mode():
        assert torch.equal(again.encode(images), network.encode(images))


def test_weights_are_called_what_diffusers_calls_them():
    for declared in (KINDS["kl"], KINDS["vq"]):
        network = build_autoencoder(declared)
        assert [*network.state_dict()] == [*network.diffusers_model().state_dict()]


def test_pixels_pass_through_the_identity_as_they_are():
    network, images = build_autoencoder(Identity()), torch.rand(2, 3, 8, 8) * 2 - 1
    mean, logvar = network.encode(images).chunk(2, dim=1)
    assert torch.equal(network.decode(mean), images)
    assert (logvar.exp() < 1e-12).all()
    assert network.spec.latents_mean == (0.0,) * 3


def test_an_identity_cannot_be_trained():
    with pytest.raises(ValueError, match="expected an autoencoder with weights, got identity"):
        TrainAutoencoder(network=Identity(), total_images=1, global_batch_size=8)


def test_kinds_are_told_by_their_kind_and_older_jobs_say_none():
    fields = {"total_images": 1, "global_batch_size": 8}
    old = TrainAutoencoder.model_validate({"network": {"latent_channels": 2}, **fields})
    assert old.network == Autoencoder(latent_channels=2)
    with pytest.raises(ValueError, match="expected one of 'convolutional', 'identity', got 'wavelet'"):
        TrainAutoencoder.model_validate({"network": {"kind": "wavelet"}, **fields})


def test_a_configuration_of_another_class_is_refused():
    with pytest.raises(CheckpointError, match="expected an autoencoder's configuration, got one of 'UNet2DModel'"):
        autoencoder_spec({"_class_name": "UNet2DModel"})


def test_a_network_without_activation_checkpointing_says_so():
    with pytest.raises(ConfigError, match="expected false, as IdentityAutoencoder has none"):
        build_autoencoder(Identity()).enable_gradient_checkpointing()
