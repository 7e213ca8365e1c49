"""Encoding: the autoencoder's own moments under the images' own keys, and the statistics of what they stand for."""

import itertools

import numpy as np
import pytest
import tiny
import torch
from columns_of import image_columns, moments_columns

from rayograph.errors import DataError
from rayograph.ingest.latent_encoder import ShardEncoder, first_position, normalisation
from rayograph.models.autoencoder import posterior_sample, to_images
from rayograph.models.model_folder import AUTOENCODER, save_model
from rayograph.runs.artifact import Artifact
from rayograph.runs.philox import normal
from rayograph.runs.rng_streams import RngStream
from rayograph.shards.committed import Shards
from rayograph.shards.pixels.decode import to_png
from rayograph.shards.sample import Sample
from rayograph.shards.store import find_index, put_shard, read_index, read_samples
from rayograph.storage import open_store

NAME = "shards/train-000000.tar"
COUNT, SIZE = 11, 8


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Images and an autoencoder."""
    store = open_store(str(tmp_path_factory.mktemp("store")))
    save_model(Artifact(store, "autoencoder"), AUTOENCODER, tiny.autoencoder())
    tiny.commit(Artifact(store, "autoencoder"))
    for name, classes in (("images", True), ("unlabelled", False)):
        samples = []
        for number in range(COUNT):
            pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
            labels = {"cls": str(number % 4).encode()} if classes else {}
            samples.append(Sample(f"image-{number}", {"png": to_png(pixels)} | labels))
        put_shard(Artifact(store, name), NAME, samples)
    return store


def encoded(store, target, *, batch_size=4, seed=0, images="images", limit=0):
    target = Artifact(store, target)
    shards, autoencoder = Shards(Artifact(store, images), (NAME,)), Artifact(store, "autoencoder")
    encoder = ShardEncoder(shards, autoencoder, target, SIZE, batch_size, seed, "cpu", limit)
    index = encoder(NAME)
    return index, read_samples(target, NAME, index, range(len(index)))


def true_moments(store):
    images = Artifact(store, "images")
    samples = read_samples(images, NAME, read_index(images, NAME), range(COUNT))
    with torch.inference_mode():
        return tiny.autoencoder().encode(to_images(torch.from_numpy(image_columns(samples)["pixels"])))


def test_moments_are_the_autoencoders_under_the_same_keys_and_classes(store):
    index, samples = encoded(store, "a")
    assert index.keys == [f"image-{number}" for number in range(COUNT)]
    columns = moments_columns(samples)
    np.testing.assert_allclose(columns["moments"], true_moments(store).numpy(), rtol=1e-3, atol=1e-4)
    assert columns["classes"].tolist() == [number % 4 for number in range(COUNT)]


def test_all_that_stands_beside_an_image_stays_beside_its_moments(store):
    beside = {"cls": b"3", "txt": b"a lamp", "json": b'{"x": 1}', "mask.png": to_png(np.zeros((8, 8, 3), np.uint8))}
    image = to_png(np.zeros((8, 8, 3), np.uint8))
    put_shard(
        Artifact(store, "described"), NAME, [Sample("one", {"png": image} | beside), Sample("two", {"png": image})]
    )
    _, (one, two) = encoded(store, "described-moments", images="described")
    assert {name: data for name, data in one.members.items() if name != "npy"} == beside
    assert set(two.members) == {"npy"}


def test_what_cannot_be_decoded_is_left_out_and_named_with_its_shard(store):
    samples = read_samples(Artifact(store, "images"), NAME, read_index(Artifact(store, "images"), NAME), range(COUNT))
    damaged = {
        2: {"png": samples[2].members["png"][:-30]},
        5: {"txt": b"no image"},
        7: {**samples[7].members, "cls": b"9" * 30},
    }
    held = [Sample(s.key, damaged.get(number, s.members)) for number, s in enumerate(samples)]
    put_shard(Artifact(store, "damaged"), NAME, held)
    with pytest.raises(DataError, match=rf"damaged/{NAME}: sample image-2: .*\(3 samples rejected so far"):
        encoded(store, "h", images="damaged", limit=2, batch_size=COUNT)
    index, kept = encoded(store, "h", images="damaged", limit=3)
    assert [row["key"] for row in index.facts["rejected"]] == ["image-2", "image-5", "image-7"]
    assert all(f"damaged/{NAME}: sample {row['key']}: " in row["reason"] for row in index.facts["rejected"])
    sound = [number for number in range(COUNT) if number not in damaged]
    assert index.keys == [f"image-{number}" for number in sound]
    np.testing.assert_allclose(
        moments_columns(kept)["moments"], true_moments(store).numpy()[sound], rtol=1e-3, atol=1e-4
    )
    noise = normal(0, RngStream.ENCODE, first_position(NAME) + torch.tensor(sound), (2, 4, 4))
    latents = posterior_sample(true_moments(store)[sound], noise).double()
    assert normalisation([index.facts]).mean == pytest.approx(latents.mean(dim=(0, 2, 3)).tolist(), rel=1e-3, abs=1e-4)


def test_a_shard_with_nothing_to_decode_is_a_shard_without_samples(store):
    put_shard(Artifact(store, "nothing"), NAME, [Sample("a", {"png": b"x"})])
    index, kept = encoded(store, "i", images="nothing", limit=1)
    assert (len(index), kept, index.facts["places"]) == (0, [], 0)
    other, _ = encoded(store, "j")
    assert normalisation([index.facts, other.facts]) == normalisation([other.facts])


def test_without_classes_there_are_none(store):
    _, samples = encoded(store, "b", images="unlabelled")
    assert set(moments_columns(samples)) == {"moments"}


def test_neither_moments_nor_facts_depend_on_the_batch_size_beyond_rounding(store):
    (index, samples), (other_index, other) = (encoded(store, f"c{size}", batch_size=size) for size in (COUNT, 3))
    np.testing.assert_allclose(moments_columns(samples)["moments"], moments_columns(other)["moments"], atol=1e-4)
    for name, value in index.facts.items():
        np.testing.assert_allclose(value, other_index.facts[name], rtol=1e-4)


def test_the_scale_is_mean_and_deviation_of_the_raw_latents_by_channel(store):
    index, _ = encoded(store, "d", seed=3)
    moments = true_moments(store)
    noise = normal(3, RngStream.ENCODE, first_position(NAME) + torch.arange(COUNT), (2, 4, 4))
    latents = posterior_sample(moments, noise).double()
    scale = normalisation([index.facts])
    assert scale.mean == pytest.approx(latents.mean(dim=(0, 2, 3)).tolist(), rel=1e-3, abs=1e-4)
    assert scale.std == pytest.approx(latents.std(dim=(0, 2, 3), correction=0).tolist(), rel=1e-3)
    assert index.facts["latent_shape"] == [2, 4, 4]


def test_the_scale_of_several_shards_weighs_each_by_its_size():
    draw = np.random.default_rng(0)
    parts = [draw.normal([1.0, -3.0], [0.5, 2.0], (count, 2)) for count in (10, 1000, 333)]
    facts = [
        {"places": len(part), "sum": part.sum(0).tolist(), "sum_of_squares": (part**2).sum(0).tolist()}
        for part in parts
    ]
    scale, whole = normalisation(facts), np.concatenate(parts)
    assert scale.mean == pytest.approx(whole.mean(0).tolist())
    assert scale.std == pytest.approx(whole.std(0).tolist())


def test_a_channel_that_never_changes_has_a_deviation_one_can_divide_by():
    (std,) = normalisation([{"places": 4, "sum": [8.0], "sum_of_squares": [16.0]}]).std
    assert std > 0


def test_a_shard_that_is_there_is_not_encoded_again(store, monkeypatch):
    first, _ = encoded(store, "e")
    monkeypatch.setattr("rayograph.models.autoencoders.kl.KLAutoencoder.encode", None)
    again, _ = encoded(store, "e")
    assert again.to_bytes() == first.to_bytes()


def test_encoding_twice_gives_the_same_bytes(store):
    first, _ = encoded(store, "f")
    again, _ = encoded(store, "g")
    assert again.to_bytes() == first.to_bytes()  # which holds the shard's sha256


def test_no_two_shards_draw_the_same_noise():
    firsts = sorted(first_position(f"shards/train-{number:06d}.tar") for number in range(10_000))
    assert min(after - before for before, after in itertools.pairwise(firsts)) > 100_000


def test_moments_that_are_not_finite_name_their_sample_and_nothing_is_committed(store):
    target = Artifact(store, "not-finite")
    images = Shards(Artifact(store, "images"), (NAME,))
    encoder = ShardEncoder(images, Artifact(store, "autoencoder"), target, SIZE, 4, 0, "cpu")
    with torch.no_grad():
        next(encoder._autoencoder.encoder.parameters()).fill_(float("nan"))
    with pytest.raises(DataError, match=rf"^{NAME} image-0: expected finite moments, got nan or infinity \(4 samples"):
        encoder(NAME)
    assert find_index(target, NAME) is None


def test_samples_whose_moments_are_not_finite_are_left_out_by_name_and_no_other_changes(store, monkeypatch):
    whole, same = encoded(store, "sound")
    encoder = ShardEncoder(
        *(Shards(Artifact(store, "images"), (NAME,)), Artifact(store, "autoencoder"), Artifact(store, "unsound")),
        *(SIZE, 4, 0, "cpu", 1),
    )
    encode, batches = encoder._autoencoder.encode, []

    def breaking(pixels):
        batches.append(len(pixels))
        moments = encode(pixels)
        moments[1, 0, 0, 0] = float("inf") if len(batches) == 2 else moments[1, 0, 0, 0]
        return moments

    monkeypatch.setattr(encoder._autoencoder, "encode", breaking)
    index = encoder(NAME)
    assert index.facts["rejected"] == [
        {"key": "image-5", "reason": f"{NAME} image-5: expected finite moments, got nan or infinity"}
    ]
    found = read_samples(Artifact(store, "unsound"), NAME, index, range(len(index)))
    assert found == [sample for sample in same if sample.key != "image-5"]
    assert index.facts["places"] == whole.facts["places"] * (COUNT - 1) // COUNT
