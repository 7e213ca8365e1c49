"""Drawing: a sample is a function of (seed, number), whatever the batch, the unit or the path of guidance."""

import json

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from rayograph.config import Sample, Sampler
from rayograph.errors import CheckpointError
from rayograph.models.denoiser import denoise
from rayograph.models.folder import AUTOENCODER, DENOISER, SCHEDULE, save_model
from rayograph.runs.artifact import Artifact
from rayograph.sampling.denoising import DiffusionModel
from rayograph.sampling.units import draw_unit, plan_units
from rayograph.shards.images import render
from rayograph.shards.store import read_samples
from rayograph.storage import open_store

NUMBERS = torch.arange(7)
CLASSES = NUMBERS % 3


@pytest.fixture(scope="module")
def model():
    return tiny.model()


@pytest.fixture
def artifact(tmp_path):
    return Artifact(open_store(str(tmp_path)), "samples")


def draw(model, numbers=NUMBERS, classes=CLASSES, seed=0, **options):
    pixels, _ = model.draw(seed, numbers, classes, Sampler(**{"num_inference_steps": 4} | options))
    return pixels.int()


@pytest.mark.parametrize("scheduler", ["ddim", "dpmsolver++"])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_sample_does_not_depend_on_the_batch_it_is_drawn_in(model, scheduler, scale):
    options = {"scheduler": scheduler, "guidance_scale": scale}
    whole = draw(model, **options)
    assert whole.shape == (7, 8, 8, 3)
    assert whole.float().std() > 10  # images, not one grey
    order = torch.tensor([6, 2, 0, 5, 1, 4, 3])
    for number in NUMBERS.tolist():
        alone = draw(model, NUMBERS[number, None], CLASSES[number, None], **options)
        assert (alone[0] - whole[number]).abs().max() <= 1
    assert (draw(model, NUMBERS[order], CLASSES[order], **options) - whole[order]).abs().max() <= 1


def test_drawing_twice_gives_the_same_pixels_and_global_randomness_plays_no_part(model):
    torch.manual_seed(1)
    first = draw(model)
    torch.manual_seed(2)
    assert torch.equal(draw(model), first)


def test_seed_and_number_each_give_another_sample(model):
    base = draw(model, NUMBERS[:1], CLASSES[:1])
    assert not torch.equal(draw(model, NUMBERS[:1], CLASSES[:1], seed=1), base)
    assert not torch.equal(draw(model, NUMBERS[1:2], CLASSES[:1]), base)


def test_guidance_of_one_is_no_guidance_by_either_path(model):
    plain = draw(model, guidance_scale=1.0)
    doubled = draw(model, guidance_scale=1.0 + 1e-6)  # the path that asks for both predictions
    assert (plain - doubled).abs().max() <= 1


def test_guidance_walks_from_the_unconditional_prediction_through_the_conditional_one(model):
    latents, timestep = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor(500)
    classes, nulls, timesteps = torch.tensor([0, 2]), torch.tensor([3, 3]), torch.tensor([500, 500])
    with torch.inference_mode():
        conditional = denoise(model.denoiser, latents, timesteps, classes)
        unconditional = denoise(model.denoiser, latents, timesteps, nulls)
        for scale in (0.0, 1.0, 3.0):
            expected = unconditional + scale * (conditional - unconditional)
            torch.testing.assert_close(model._guided(latents, timestep, classes, scale), expected, rtol=1e-3, atol=1e-5)


def test_guidance_changes_the_samples(model):
    assert not torch.equal(draw(model, guidance_scale=4.0), draw(model, guidance_scale=1.0))


def test_a_model_without_classes_draws_without_them():
    model = tiny.model(num_classes=0)
    assert model.num_classes == 0
    assert draw(model, classes=None).shape == (7, 8, 8, 3)


def test_the_first_kept_step_is_the_noise_whatever_it_will_become(model):
    _, kept = model.draw(0, NUMBERS, CLASSES, Sampler(scheduler="ddim", num_inference_steps=4), [0, 3])
    _, others = model.draw(0, NUMBERS, (CLASSES + 1) % 3, Sampler(num_inference_steps=4, guidance_scale=4.0), [0, 3])
    assert torch.equal(kept[0], others[0])
    assert not torch.equal(kept[1], others[1])


def test_keeping_steps_does_not_change_the_sample(model):
    sampler = Sampler(num_inference_steps=4)
    pixels, kept = model.draw(0, NUMBERS, CLASSES, sampler, range(4))
    assert len(kept) == 4
    assert torch.equal(pixels, model.draw(0, NUMBERS, CLASSES, sampler)[0])


def save(model, artifact):
    for name, part in ((AUTOENCODER, model.autoencoder), (DENOISER, model.denoiser), (SCHEDULE, model.schedule)):
        save_model(artifact, name, part)


def test_a_loaded_model_draws_what_the_saved_one_drew(model, artifact):
    save(model, artifact)
    loaded = DiffusionModel.load(artifact, "cpu")
    assert loaded.num_classes == 3
    assert torch.equal(draw(loaded), draw(model))


@pytest.mark.parametrize("missing", [AUTOENCODER, DENOISER, SCHEDULE])
def test_a_model_folder_without_one_of_its_parts_is_refused_by_that_part(model, artifact, missing):
    save(model, artifact)
    for name in artifact.names(f"{missing}/"):
        artifact.store.delete(artifact.key(name))
    with pytest.raises(CheckpointError, match=missing):
        DiffusionModel.load(artifact, "cpu")


@given(samples=st.integers(1, 500), size=st.integers(1, 200))
def test_units_cover_the_request_once_in_order_all_full_but_the_last(samples, size):
    units = plan_units(Sample(num_samples=samples, unit_size=size))
    assert [n for unit in units for n in range(unit.start, unit.stop)] == list(range(samples))
    assert all(unit.stop - unit.start == size for unit in units[:-1])
    assert [unit.number for unit in units] == list(range(len(units)))
    assert len({unit.shard for unit in units}) == len(units)


def drawn(model, artifact, unit_size, seed=5):
    request = Sample(num_samples=10, unit_size=unit_size, sampler=Sampler(num_inference_steps=3, guidance_scale=2.0))
    samples = []
    for unit in plan_units(request):
        index = draw_unit(artifact, unit, request, seed, model, "digest-of-model")
        samples += read_samples(artifact, unit.shard, index, range(len(index)))
    return samples


def test_samples_do_not_depend_on_how_a_request_is_cut_into_units(model, tmp_path):
    store = open_store(str(tmp_path))
    large, small = (drawn(model, Artifact(store, f"by-{size}"), size) for size in (10, 3))
    assert [s.key for s in large] == [s.key for s in small] == sorted(s.key for s in large)
    for one, other in zip(large, small, strict=True):
        difference = render(one.members["png"], one.key).astype(int) - render(other.members["png"], other.key)
        assert np.abs(difference).max() <= 1
        assert one.members["json"] == other.members["json"]
        assert one.members["cls"] == other.members["cls"]


def test_every_sample_says_what_drew_it_and_classes_take_turns(model, artifact):
    samples = drawn(model, artifact, 4)
    for number, sample in enumerate(samples):
        record = json.loads(sample.members["json"])
        assert record["number"] == number
        assert record["class"] == number % 3 == int(sample.members["cls"])
        assert (record["seed"], record["model"], record["guidance_scale"]) == (5, "digest-of-model", 2.0)


def test_a_unit_that_is_there_is_not_drawn_again(model, artifact, monkeypatch):
    first = drawn(model, artifact, 4)

    def refuse(*_):
        raise AssertionError("a unit was drawn again")

    monkeypatch.setattr(DiffusionModel, "draw", refuse)
    assert drawn(model, artifact, 4) == first
