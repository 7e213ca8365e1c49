"""Trainings that start from trained weights: what is taken over, what is refused, what it does to the key."""

import pytest
import tiny
import torch
from torch import nn

from rayograph.config import Autoencoder, Denoiser, Job, Pack, Scale, SklearnDigits, TrainAutoencoder, TrainDiffusion
from rayograph.errors import ConfigError, DataError
from rayograph.models.model_folder import AUTOENCODER, save_model
from rayograph.pipeline.resolve import resolve
from rayograph.runs.artifact import Artifact
from rayograph.storage import open_store
from rayograph.training.checkpoints.initial_weights import autoencoder_weights, start_from

FIELDS = {"total_images": 8, "global_batch_size": 8}
PIXELS = {"images": "pack", "network": Denoiser(num_classes=10), **FIELDS}


def keys(tmp_path, **stages):
    job = Job(name="j", stages={"pack": Pack(source=SklearnDigits(), image_size=8), **stages})
    return {name: stage.key for name, stage in resolve(job, Scale(), open_store(str(tmp_path))).items()}


def test_all_weights_are_taken_over(tmp_path):
    artifact, trained = Artifact(open_store(str(tmp_path)), "job/train/0000"), tiny.autoencoder(seed=1)
    save_model(artifact, AUTOENCODER, trained)
    tiny.commit(artifact)
    fresh = nn.ModuleDict({"autoencoder": tiny.autoencoder(seed=2)})
    start_from(fresh, autoencoder_weights(artifact))
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), trained.parameters(), strict=True))


@pytest.mark.parametrize(("weights", "message"), [
    ({"weight": torch.ones(4, 3)}, r"init_from: bias: expected shape \(4,\), got no such weight"),
    ({"weight": torch.ones(5, 3), "bias": torch.ones(4)}, r"weight: expected shape \(4, 3\), got shape \(5, 3\)"),
    ({"weight": torch.ones(4, 3), "bias": torch.ones(4), "more": torch.ones(1)}, "more: expected no such weight"),
])  # fmt: skip
def test_weights_of_another_network_are_refused_by_name(weights, message):
    fresh = nn.Linear(3, 4)
    before = fresh.weight.detach().clone()
    with pytest.raises(ConfigError, match=message):
        start_from(fresh, weights)
    assert torch.equal(fresh.weight, before)


def test_what_a_training_starts_from_is_part_of_its_key(tmp_path):
    one, other = TrainDiffusion(**PIXELS), TrainDiffusion(**PIXELS, learning_rate=1e-3)
    found = [
        keys(tmp_path, a=first, b=TrainDiffusion(**PIXELS, **said))["b"]
        for first, said in ((one, {}), (other, {}), (one, {"init_from": "a"}), (other, {"init_from": "a"}))
    ]
    assert found[0] == found[1]
    assert len(set(found[1:])) == 3


def test_only_what_has_the_same_type_can_be_started_from(tmp_path):
    first_stage = TrainAutoencoder(network=Autoencoder(), **FIELDS)
    with pytest.raises(ValueError, match=r"b.init_from: expected a stage that makes diffusion_model, got 'a'"):
        keys(tmp_path, a=first_stage, b=TrainDiffusion(**PIXELS, init_from="a"))
    with pytest.raises(DataError, match=r"b.init_from: expected a committed artifact of autoencoder at"):
        keys(tmp_path, b=first_stage.model_copy(update={"init_from": f"{tmp_path}/j/a/0123456789abcdef"}))
