"""Drawing: a sample is a function of (seed, number), whatever the batch, the unit or the path of guidance."""

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import tiny
import torch

from rayograph.conditioning.class_label import ClassLabelConditioner
from rayograph.config import ImageFile, Marking, Sample, Sampler
from rayograph.config.job.conditioners import ClassLabel
from rayograph.errors import DataError
from rayograph.models.layout import CONDITIONER
from rayograph.models.model_folder import AUTOENCODER, DENOISER, SCHEDULE, save_model
from rayograph.runs.artifact import Artifact
from rayograph.sampling.batch_size import agreed_batch_size
from rayograph.sampling.marking.record import record_in
from rayograph.sampling.pipeline import DiffusionModel
from rayograph.sampling.reproduce import draw_again, keep_origin
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.sampling.requests.planner import plan_request
from rayograph.sampling.requests.sample_batch import KEEP, Group, SampleBatch
from rayograph.sampling.work_unit import CompletedUnit, Files, Origin, keep
from rayograph.sampling.work_unit import draw as draw_unit
from rayograph.shards.pixels.decode import render
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
    columns = {} if classes is None else {"class": classes}
    pixels, _ = model.draw(seed, numbers, columns, Sampler(**{"num_inference_steps": 4} | options))
    return pixels.int()


SAMPLERS = [
    {"scheduler": "ddim"},
    {"scheduler": "ddim", "eta": 0.5},
    {"scheduler": "ddim", "eta": 1.0, "spacing": "log_snr"},
    {"scheduler": "euler_ancestral"},
    {"scheduler": "dpmsolver++"},
    {"scheduler": "dpmsolver++", "spacing": "karras"},
    {"scheduler": "dpmsolver++", "spacing": "trailing"},
]


@pytest.mark.parametrize("options", SAMPLERS, ids=repr)
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_sample_does_not_depend_on_the_batch_it_is_drawn_in(model, options, scale):
    options = options | {"guidance_scale": scale}
    whole = draw(model, **options)
    assert whole.shape == (7, 8, 8, 3)
    assert whole.float().std() > 10  # images, not one grey
    order = torch.tensor([6, 2, 0, 5, 1, 4, 3])
    for number in NUMBERS.tolist():
        alone = draw(model, NUMBERS[number, None], CLASSES[number, None], **options)
        assert (alone[0] - whole[number]).abs().max() <= 1
    assert (draw(model, NUMBERS[order], CLASSES[order], **options) - whole[order]).abs().max() <= 1


def test_fresh_noise_is_of_seed_number_and_step_and_changes_the_sample(model):
    plain, noisy = draw(model, scheduler="ddim"), draw(model, scheduler="ddim", eta=1.0)
    assert (plain - noisy).abs().float().mean() > 1
    assert torch.equal(noisy, draw(model, scheduler="euler_ancestral"))
    assert torch.equal(noisy, draw(model, scheduler="ddim", eta=1.0))
    noise = model.noise(5, NUMBERS)
    drawn = torch.stack([noise.first(), *(noise.after(step) for step in range(3))])
    assert drawn.shape == (4, 7, 2, 4, 4)
    assert len(torch.unique(drawn)) > 0.99 * drawn.numel()
    assert torch.equal(model.noise(5, NUMBERS[3:5]).after(2), noise.after(2)[3:5])
    assert not torch.equal(model.noise(6, NUMBERS).after(2), noise.after(2))


def test_a_batch_of_sixty_four_draws_with_fresh_noise_what_batches_of_one_and_seven_do(model):
    numbers = torch.arange(64)
    whole = draw(model, numbers, numbers % 3, scheduler="ddim", eta=1.0)
    for size in (1, 7):
        for part in numbers.split(size)[:: 9 if size == 1 else 1]:
            found = draw(model, part, part % 3, scheduler="ddim", eta=1.0)
            assert (found - whole[part]).abs().max() <= 1


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
    timesteps, network = torch.tensor([500, 500]), model.conditioner.network
    with torch.inference_mode():
        told, nothing = network.embed({"class": torch.tensor([0, 2])}), network.null(2)
        conditional = model.denoiser(latents, timesteps, told)
        unconditional = model.denoiser(latents, timesteps, nothing)
        for scale in (0.0, 1.0, 3.0):
            expected = unconditional + scale * (conditional - unconditional)
            found = model._predicted(latents, timestep, told.beside(nothing), scale)
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_guidance_changes_the_samples(model):
    assert not torch.equal(draw(model, guidance_scale=4.0), draw(model, guidance_scale=1.0))


def test_a_model_without_classes_draws_without_them():
    model = tiny.model(num_classes=0)
    assert list(model.conditioner.network.parameters()) == []
    assert model.examples(NUMBERS) == {}
    assert draw(model, classes=None).shape == (7, 8, 8, 3)


def test_the_first_kept_step_is_the_noise_whatever_it_will_become(model):
    _, kept = model.draw(0, NUMBERS, {"class": CLASSES}, Sampler(scheduler="ddim", num_inference_steps=4), [0, 3])
    _, others = model.draw(
        0, NUMBERS, {"class": (CLASSES + 1) % 3}, Sampler(num_inference_steps=4, guidance_scale=4.0), [0, 3]
    )
    assert torch.equal(kept[0], others[0])
    assert not torch.equal(kept[1], others[1])


def test_keeping_steps_does_not_change_the_sample(model):
    sampler = Sampler(num_inference_steps=4)
    pixels, kept = model.draw(0, NUMBERS, {"class": CLASSES}, sampler, range(4))
    assert len(kept) == 4
    assert torch.equal(pixels, model.draw(0, NUMBERS, {"class": CLASSES}, sampler)[0])


def save(model, artifact):
    parts = (model.autoencoder, model.denoiser, model.conditioner, model.schedule)
    for name, part in zip((AUTOENCODER, DENOISER, CONDITIONER, SCHEDULE), parts, strict=True):
        save_model(artifact, name, part)
    return tiny.commit(artifact)


def test_a_loaded_model_draws_what_the_saved_one_drew(model, artifact):
    save(model, artifact)
    loaded = DiffusionModel.load(artifact, "cpu")
    assert loaded.conditioner.conditioner.declared == ClassLabel(num_classes=3)
    assert torch.equal(draw(loaded), draw(model))


@pytest.mark.parametrize("num_classes", [3, 0])
def test_a_model_with_its_class_embedding_within_the_denoiser_draws_the_same_pictures(artifact, num_classes):
    """Folders had no conditioner once."""
    model = tiny.model(num_classes)
    parts = (model.autoencoder, tiny.denoiser(num_classes), model.schedule)
    for name, part in zip((AUTOENCODER, DENOISER, SCHEDULE), parts, strict=True):
        save_model(artifact, name, part)
    tiny.commit(artifact)
    loaded, columns = DiffusionModel.load(artifact, "cpu"), model.examples(NUMBERS)
    for scale in (1.0, 2.0):
        sampler = Sampler(num_inference_steps=4, guidance_scale=scale)
        assert torch.equal(loaded.draw(0, NUMBERS, columns, sampler)[0], model.draw(0, NUMBERS, columns, sampler)[0])


def test_a_vector_from_outside_is_to_the_last_bit_what_an_embedding_within_the_unet_was():
    within, network = tiny.denoiser(), tiny.denoiser()
    told = tiny.conditioner(network).network
    latents, timesteps = torch.randn(4, 2, 4, 4, generator=torch.Generator().manual_seed(0)), torch.full((4,), 500)
    with torch.inference_mode():
        expected = within.diffusers_model()(latents, timesteps, class_labels=torch.arange(4)).sample
        conditioning = told.embed({"class": torch.arange(3)}).beside(told.null(1))
        assert torch.equal(network(latents, timesteps, conditioning), expected)
    assert all(not torch.allclose(expected[i], expected[j]) for i in range(4) for j in range(i))


@pytest.mark.parametrize("missing", [AUTOENCODER, DENOISER, CONDITIONER, SCHEDULE])
def test_a_model_folder_without_one_of_its_parts_is_refused_by_that_part(model, artifact, missing):
    save(model, artifact)
    for name in artifact.names(f"{missing}/"):
        artifact.store.delete(artifact.key(name))
    with pytest.raises(DataError, match=f"{missing}/.*: missing"):
        DiffusionModel.load(artifact, "cpu")


SPEC = ModelSpec(ClassLabelConditioner(3, ("a", "b", "c")), side=8, multiple=4, num_train_timesteps=1000)


PNG = ImageFile()


def drawn(model, artifact, unit_size, seed=5, batch_size=4, image=PNG, digest="digest-of-model"):
    """Every sample of a counted plan, as its shards hold it."""
    sampler = Sampler(num_inference_steps=3, guidance_scale=2.0)
    plan = plan_request(artifact, Sample(num_samples=10, unit_size=unit_size, sampler=sampler), seed, SPEC, None)
    origin, files = Origin(artifact.path, plan.digest, digest, ("digest-of-data",)), Files(image)
    samples = []
    with ThreadPoolExecutor(2) as pool:
        for number in range(plan.total_units):
            unit = plan.unit(number)
            draws = plan.draws(unit)
            index = keep(
                artifact, unit, draws, draw_unit(model, draws, batch_size), origin, files, SPEC.conditioner, pool
            )
            assert CompletedUnit.found(artifact, unit) == CompletedUnit.of(artifact, unit, index)
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
    columns = {
        "number": np.array(numbers),
        "seed": np.array(seeds, np.uint64),
        "counter": np.array(counters),
        "guidance_scale": np.broadcast_to(np.asarray(guidance, np.float64), count).copy(),
        "class": np.resize(np.array(classes), count),
    }
    guided = bool(np.any(np.asarray(guidance) != 1.0))
    group = Group(width, height, guided, {"scheduler": "ddim", "num_inference_steps": 4})
    return SampleBatch(group, pa.table(columns))


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
    plain = rows_of(range(7), [5] * 7, range(7))
    draws = replace(plain, rows=plain.rows.append_column(f"{KEEP}prompt", [[None, *"abcdef"]]))
    parts = list(draws.batches(3))
    assert [len(part) for part in parts] == [3, 3, 1]
    assert [n for part in parts for n in part.numbers.tolist()] == list(range(7))
    assert [p for part in parts for p in part.rows[f"{KEEP}prompt"].to_pylist()] == [None, *"abcdef"]
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


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("kind", ["png", "webp"])
def test_an_image_drawn_again_is_the_one_in_the_shard(model, tmp_path, batch_size, kind):
    artifact, place = (
        Artifact(open_store(str(tmp_path)), "job/sample/key"),
        Artifact(open_store(str(tmp_path)), "model"),
    )
    trained = save(model, place)
    image = ImageFile(kind=kind)
    samples = drawn(model, artifact, 4, batch_size=batch_size, image=image, digest=trained.digest)
    plan = plan_request(artifact, Sample(num_samples=10), 5, SPEC, None)
    origin = Origin(artifact.path, plan.digest, trained.digest, ("digest-of-data",))
    keep_origin(artifact, origin, place, image, Marking())
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
    another = trained.model_copy(update={"key": "1" * 16})
    place.write("manifest.json", another.model_dump_json().encode())
    with pytest.raises(DataError, match=f"expected the model of digest {trained.digest}, found {another.digest}"):
        draw_again(artifact, 0, None)


@pytest.mark.parametrize("options", SAMPLERS, ids=repr)
def test_records_hold_the_whole_sampler_and_draw_again_by_it(model, tmp_path, options):
    store = open_store(str(tmp_path))
    artifact, place = Artifact(store, "job/sample/key"), Artifact(store, "model")
    trained = save(model, place)
    sampler = Sampler(num_inference_steps=3, guidance_scale=2.0, **options)
    plan = plan_request(artifact, Sample(num_samples=4, sampler=sampler), 5, SPEC, None)
    keep_origin(artifact, Origin("job/sample/key", plan.digest, trained.digest, ()), place, PNG, Marking())
    pixels, _, record = draw_again(artifact, 2, None)
    assert record["spacing"] == sampler.spacing_on(flow=False)
    assert record.get("eta") == (sampler.eta if sampler.scheduler == "ddim" else None)
    given = {name: record[name] for name in ("scheduler", "num_inference_steps", "guidance_scale", "spacing")}
    said = Sampler(**given, eta=record.get("eta", 0.0))
    drawn, _ = model.draw(record["seed"], torch.tensor([2]), {"class": torch.tensor([record["class"]])}, said)
    assert np.abs(pixels.astype(int) - drawn[0].numpy()).max() <= 1


def test_plans_from_before_spacings_are_drawn_and_recorded_as_they_were(model):
    old = Group.read({"width": 8, "height": 8, "scheduler": "dpmsolver++", "num_inference_steps": 4, "guided": True})
    draws = replace(rows_of(range(3), [5] * 3, range(3), classes=(0, 1, 2)), group=old)
    assert not {"spacing", "eta"} & draws.record(0).keys()
    assert draws.sampler == Sampler(num_inference_steps=4, guidance_scale=2.0, spacing="trailing")


def test_what_is_no_generation_cannot_be_drawn_again(artifact):
    with pytest.raises(DataError, match="expected a generation with its plan, found none"):
        draw_again(artifact, 0, None)


def poisoned(model, number, value):
    """The same model with a denoiser whose prediction is `value` for samples of one class."""
    denoiser, vector = copy.deepcopy(model.denoiser), model.conditioner.network.embedding.weight[number]

    def spoil(_network, given, made):
        made[(given[2].vector == vector).all(dim=1)] = value

    denoiser.register_forward_hook(spoil)
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
    broken = replace(
        model,
        normalisation=replace(model.normalisation, std=(1e39,) * len(model.normalisation.std)),
    )
    with pytest.raises(DataError, match=r"^sample 7, .*: expected finite latents and pixels"):
        broken.draw_rows(rows_of(range(7, 9), [0, 0], range(2), classes=(0, 1)))
