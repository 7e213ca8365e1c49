"""Summaries of sets of images: what actors send, and what the driver holds of it."""

import tracemalloc

import numpy as np
import pytest

from rayograph.config import PooledPixels
from rayograph.errors import DataError
from rayograph.evaluation.extractors.pooled_pixels import PooledPixelExtractor
from rayograph.evaluation.selection import seeded_subset, select
from rayograph.evaluation.summaries import Summariser, Summary, joined

NOTHING = np.empty(0, np.int64)
SUMMARISE = Summariser(PooledPixelExtractor(PooledPixels()), True)


def shard(number, size=64):
    return np.random.default_rng(number).integers(0, 256, (size, 16, 16, 3), dtype=np.uint8)


def of(pixels, selection, labels=None, rejected=()):
    return SUMMARISE(selection, np.arange(len(pixels)), pixels, labels, [], rejected)


def parts_of(shards, **options):
    for number, selection in enumerate(select([64] * shards, 0, **options)):
        yield Summary.from_bytes(of(shard(number), selection, np.full(64, number)).to_bytes())


def test_a_summary_that_travelled_is_the_one_that_was_made():
    made = next(iter(parts_of(1, compared=9, stand_ins=5, shown=3)))
    again = Summary.from_bytes(made.to_bytes())
    assert again.to_bytes() == made.to_bytes()
    assert len(made.compared.features) == len(made.compared.labels) == len(made.compared.thumbnails) == 9
    assert made.stand_in_moments.count == len(made.stand_ins) == 5
    np.testing.assert_array_equal(made.shown.pixels, shard(0)[:3])
    assert made.space == "grey pixels pooled to 8×8"


def test_the_selected_images_are_those_of_the_seeded_subset_of_the_whole_set():
    whole = joined(parts_of(5, compared=40, stand_ins=30))
    features = np.concatenate([SUMMARISE.extractor(_tensor(shard(number))).numpy() for number in range(5)])
    chosen = seeded_subset(320, 40, 0)
    np.testing.assert_array_equal(whole.vectors, features[chosen])
    np.testing.assert_array_equal(whole.labels, chosen // 64)
    np.testing.assert_array_equal(whole.stand_ins, features[seeded_subset(320, 30, 0)])
    assert whole.moments.count == 320
    np.testing.assert_allclose(whole.stand_in_moments.mean, features[seeded_subset(320, 30, 0)].mean(axis=0))


def test_a_set_that_fits_is_compared_whole():
    assert [selection.compared.tolist() for selection in select([3, 0, 2], 0, compared=10_000)] == [
        [0, 1, 2],
        [],
        [0, 1],
    ]
    assert [selection.shown for selection in select([3, 0, 2], 0, compared=1, shown=4)] == [3, 0, 1]


def test_what_an_actor_sends_does_not_grow_with_its_shard():
    few, many = (len(of(shard(0, size), select([size], 0, compared=8, shown=2)[0]).to_bytes()) for size in (16, 1024))
    assert few == many


def test_what_the_driver_holds_does_not_grow_with_the_set():
    def peak(shards):
        tracemalloc.start()
        joined(parts_of(shards, compared=100, shown=10))
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    peak(2)  # what is imported and cached by a first call
    assert (peak(400) - peak(40)) / 360 < shard(0).nbytes / 16  # a shard more costs its selection, and no image


def test_labels_count_only_where_every_image_has_one():
    selections = select([4, 4, 4], 0, compared=12)
    labels = np.zeros(4, np.int64)
    images = [of(shard(number, 4), selection, labels) for number, selection in enumerate(selections)]
    assert joined(images).labels is not None
    assert joined([*images[:2], of(shard(2, 4), selections[2])]).labels is None


def test_what_was_left_out_is_kept_by_name_even_of_a_shard_without_images():
    selections = select([4, 4], 0, compared=8)
    nothing = SUMMARISE(selections[0], NOTHING, np.empty((0, 16, 16, 3), np.uint8), NOTHING, [], ["a: no image"])
    travelled = Summary.from_bytes(nothing.to_bytes())
    whole = joined([travelled, of(shard(1, 4), selections[1], np.zeros(4, np.int64), ["b: no image"])])
    assert whole.rejected == ("a: no image", "b: no image")
    assert (whole.moments.count, whole.labelled) == (4, True)
    assert joined([travelled]).rejected == ("a: no image",)
    assert joined([travelled]).moments.count == 0


def test_no_shard_at_all_is_an_error():
    with pytest.raises(DataError, match="expected a shard of them, got none"):
        joined([])


def _tensor(pixels):
    import torch

    return torch.from_numpy(pixels)
