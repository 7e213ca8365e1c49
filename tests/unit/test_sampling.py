"""Drawing: a sample is a function of (seed, number), whatever the batch, the unit or the path of guidance."""

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from rayograph.config import ImageFile, Marking, Sample, Sampler
from rayograph.errors import CheckpointError, DataError
from rayograph.models.denoiser import denoise
from rayograph.models.folder import AUTOENCODER, DENOISER, SCHEDULE, save_model
from rayograph.runs.artifact import Artifact
from rayograph.sampling.again import draw_again, keep_origin
from rayograph.sampling.batch_size import agreed_batch_size
from rayograph.sampling.denoising import DiffusionModel
from rayograph.sampling.draws import Draws, Group
from rayograph.sampling.freeze import freeze
from rayograph.sampling.provenance import record_in
from rayograph.sampling.traits import ModelTraits
from rayograph.sampling.units import Files, Landed, Origin, keep
from rayograph.sampling.units import draw as draw_unit
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


TRAITS = ModelTraits(num_classes=3, class_names=("a", "b", "c"), side=8, multiple=4, num_train_timesteps=1000)


PNG = ImageFile()


def drawn(model, artifact, unit_size, seed=5, batch_size=4, image=PNG):
    """Every sample of a counted plan, as its shards hold it."""
    sampler = Sampler(num_inference_steps=3, guidance_scale=2.0)
    plan = freeze(artifact, Sample(num_samples=10, unit_size=unit_size, sampler=sampler), seed, TRAITS, None)
    origin, files = Origin(artifact.path, plan.digest, "digest-of-model", ("digest-of-data",)), Files(image)
    samples = []
    with ThreadPoolExecutor(2) as pool:
        for number in range(plan.total_units):
            unit = plan.unit(number)
            draws = plan.draws(unit)
            index = keep(artifact, unit, draws, draw_unit(model, draws, batch_size), origin, files, pool)
            assert Landed.found(artifact, unit) == Landed.of(artifact, unit, index)
            samples += read_samples(artifact, unit.shard, index, range(len(index)))
    return samples


def test_samples_do_not_depend_on_how_a_request_is_cut_into_units(model, tmp_path):
    store = open_store(str(tmp_path))
    large, small = (drawn(model, Artifact(store, f"by-{size}"), size) for size in (10, 3))
    assert [s.key for s in large] == [s.key for s in small] == sorted(s.key for s in large)
    for one, other in zip(large, small, strict=True):
        difference = render(one.members["png"], one.key).astype(int) - render(other.members["png"], other.key)
        assert np.abs(difference).max() <= 1
        records = [json.loads(s.members["json"]) for s in (one, other)]
        own = {"artifact", "request"}  # other units are another plan
        assert {name for name in records[0] if records[0][name] != records[1].get(name)} == own
        assert records[0].keys() == records[1].keys()
        assert one.members["cls"] == other.members["cls"]


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_every_sample_says_beside_itself_and_within_what_drew_it_and_classes_take_turns(model, artifact, kind):
    image = ImageFile(kind=kind)
    for number, sample in enumerate(drawn(model, artifact, 4, image=image)):
        record = json.loads(sample.members["json"])
        assert record == record_in(sample.members[image.extension], sample.key)
        assert sample.key == f"{number:09d}"
        assert (record["number"], record["counter"]) == (number, number)
        assert record["class"] == number % 3 == int(sample.members["cls"])
        assert (record["seed"], record["model"], record["guidance_scale"]) == (5, "digest-of-model", 2.0)
        assert (record["artifact"], record["data"]) == ("samples", ["digest-of-data"])


def rows_of(numbers, seeds, counters, guidance=2.0, classes=(0,), width=8, height=8):
    count = len(numbers)
    return Draws(
        Group(width, height, "ddim", 4, guided=bool(np.any(np.asarray(guidance) != 1.0))),
        np.array(numbers),
        np.array(seeds, np.uint64).astype(np.int64),
        np.array(counters),
        np.broadcast_to(np.asarray(guidance, np.float64), count).copy(),
        np.resize(np.array(classes), count),
    )


def test_a_row_with_its_own_seed_is_what_that_seed_draws(model):
    seeds, counters = [0, 7, 2**63, 2**64 - 1], [3, 0, 1, 0]
    pixels = model.draw_rows(rows_of(range(4), seeds, counters, classes=(0, 1, 2, 0))).int()
    for row, (seed, counter) in enumerate(zip(seeds, counters, strict=True)):
        alone = draw(
            model, torch.tensor([counter]), torch.tensor([row % 3]), seed, scheduler="ddim", guidance_scale=2.0
        )
        assert (alone[0] - pixels[row]).abs().max() <= 1
    assert len({pixels[row].numpy().tobytes() for row in range(4)}) == 4


@pytest.mark.parametrize(("width", "height"), [(4, 4), (16, 8), (8, 24)])
def test_other_sizes_than_it_was_trained_at_are_drawn_at_those_sizes(model, width, height):
    draws = rows_of([0, 1], [5, 5], [0, 1], width=width, height=height)
    pixels = model.draw_rows(draws)
    assert pixels.shape == (2, height, width, 3)
    assert pixels.float().std() > 10
    assert (model.draw_rows(draws[1:2]).int() - pixels[1:].int()).abs().max() <= 1


def test_guidance_of_each_row_is_what_it_would_be_for_all(model):
    scales = [0.0, 1.0, 1.5, 4.0]
    pixels = model.draw_rows(rows_of(range(4), [5] * 4, range(4), scales, (0, 1, 2))).int()
    for row, scale in enumerate(scales):
        whole = draw(model, torch.arange(4), torch.tensor([0, 1, 2, 0]), 5, scheduler="ddim", guidance_scale=scale)
        assert (whole[row] - pixels[row]).abs().max() <= 1


def test_a_padded_batch_draws_what_it_drew_without(model):
    draws = rows_of(range(3), [5] * 3, range(3), classes=(0, 1, 2))
    padded = draws.padded(5)
    assert padded.numbers.tolist() == [0, 1, 2, 2, 2, 2, 2, 2]
    assert (model.draw_rows(padded)[:3].int() - model.draw_rows(draws).int()).abs().max() <= 1
    assert np.array_equal(draws.padded(0).numbers, draws.numbers)


def test_batches_are_all_of_it_in_order():
    draws = replace(rows_of(range(7), [5] * 7, range(7)), kept={"prompt": [None, *"abcdef"]})
    parts = list(draws.batches(3))
    assert [len(part) for part in parts] == [3, 3, 1]
    assert [n for part in parts for n in part.numbers.tolist()] == list(range(7))
    assert [p for part in parts for p in part.kept["prompt"]] == [None, *"abcdef"]
    assert "prompt" not in draws.record(0)
    assert draws.record(6)["prompt"] == "f"


def test_a_declared_batch_size_is_that_whichever_unit_comes_first(model, artifact):
    assert agreed_batch_size(artifact, model, rows_of(range(3), [5] * 3, range(3)), 8) == 8
    assert list(artifact.names()) == []


def test_a_measured_batch_size_is_agreed_on_by_all_replicas(model, artifact):
    draws = rows_of(range(4), [5] * 4, range(4))
    first = agreed_batch_size(artifact, model, draws, "auto")
    assert 1 <= first <= 4
    (name,) = artifact.names()
    artifact.write(name, json.dumps({"batch_size": 3}).encode())
    assert agreed_batch_size(artifact, model, draws, "auto") == 3


class Trained:
    """A committed model's place, without the rest of its manifest."""

    digest = "digest-of-model"


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("kind", ["png", "webp"])
def test_an_image_drawn_again_is_the_one_in_the_shard(model, tmp_path, monkeypatch, batch_size, kind):
    artifact, place = (
        Artifact(open_store(str(tmp_path)), "job/sample/key"),
        Artifact(open_store(str(tmp_path)), "model"),
    )
    save(model, place)
    image = ImageFile(kind=kind)
    samples = drawn(model, artifact, 4, batch_size=batch_size, image=image)
    plan = freeze(artifact, Sample(num_samples=10), 5, TRAITS, None)
    origin = Origin(artifact.path, plan.digest, "digest-of-model", ("digest-of-data",))
    keep_origin(artifact, origin, place.uri, image, Marking())
    monkeypatch.setattr(Artifact, "committed", lambda self: Trained)
    for number in (0, 5, 9):
        pixels, encoded, record = draw_again(artifact, number, None)
        member = samples[number].members[image.extension]
        if batch_size == 1:
            assert encoded == member
        if kind == "png":
            assert np.abs(pixels.astype(int) - render(member, "there")).max() <= (batch_size > 1)
        assert record == json.loads(samples[number].members["json"])
    with pytest.raises(DataError, match="sample 10: expected 0 to 9"):
        draw_again(artifact, 10, None)
    monkeypatch.setattr(Trained, "digest", "another")
    with pytest.raises(DataError, match="expected the model of digest digest-of-model, found another"):
        draw_again(artifact, 0, None)


def test_what_is_no_generation_cannot_be_drawn_again(artifact):
    with pytest.raises(DataError, match="expected a generation with its plan, found none"):
        draw_again(artifact, 0, None)


def poisoned(model, number, value):
    """The same model with a denoiser whose prediction is `value` for samples of one class."""
    denoiser = copy.deepcopy(model.denoiser)

    def spoil(_network, _given, options, made):
        made.sample[options["class_labels"] == number] = value

    denoiser.register_forward_hook(spoil, with_kwargs=True)
    return replace(model, denoiser=denoiser)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e38])
def test_a_sample_that_is_not_finite_is_named_and_never_a_picture(model, value):
    spoilt = poisoned(model, 1, value)
    draws = rows_of(range(40, 44), [5] * 4, range(4), classes=(0, 1, 2, 1))
    with pytest.raises(DataError, match=r"^sample 41, sample 43: expected finite latents and pixels, got nan or inf"):
        spoilt.draw_rows(draws)
    with pytest.raises(DataError, match=r"^sample 41, sample 43: "):
        spoilt.draw_rows(draws.padded(2))  # those that fill a batch up are not counted twice
    sound = draws[2:3]
    assert torch.equal(spoilt.draw_rows(sound), model.draw_rows(sound))
    with pytest.raises(DataError, match=r"^sample 1, sample 4: "):
        draw(spoilt, guidance_scale=1.0)


def test_a_decoder_that_is_not_finite_names_its_samples_too(model):
    broken = replace(model, latent_scale=replace(model.latent_scale, std=(1e39,) * len(model.latent_scale.std)))
    with pytest.raises(DataError, match=r"^sample 7, .*: expected finite latents and pixels"):
        broken.draw_rows(rows_of(range(7, 9), [0, 0], range(2), classes=(0, 1)))
