"""Whether a drawing's nearest real image is the asked one: on features whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
from test_evaluate_stage import here, report, run  # noqa: F401 - `here` is a fixture

from rayograph.config import Evaluate, OpenMoji, Pack, PooledPixels
from rayograph.errors import DataError
from rayograph.evaluation.distances import ranks_of
from rayograph.evaluation.measures import Measures
from rayograph.evaluation.report.page import Report, headlines, render, summary
from rayograph.evaluation.retrieval import retrieval
from rayograph.evaluation.summaries import Compared, Summary, joined


def summed(features, keys):
    """A set of images in a space of one dimension."""
    vectors = np.array(features, np.float64)[:, None]
    nothing = Summary.of_nothing("a line", [])
    labels, thumbnails = np.zeros(len(vectors), np.int64), np.empty((len(vectors), 0))
    return replace(nothing, compared=Compared(vectors, labels, thumbnails, np.array(keys, np.str_)))


TRAIN = summed([0, 10, 20, 30], ["a", "b", "c", "d"])
HELD_OUT = summed([5, 15], ["e", "f"])


def test_a_rank_counts_what_lies_nearer_and_equal_images_share_a_place():
    references = np.array([[0.0], [1.0], [1.0], [5.0]])
    queries = np.array([[0.9], [0.9], [0.9], [0.9]])
    assert ranks_of(queries, references, np.array([0, 1, 2, 3]), block_bytes=1).tolist() == [2, 0, 0, 3]


def test_shares_are_by_the_set_that_the_asked_image_is_of():
    samples = summed([0.1, 9.0, 29.0, 5.2, 28.0], ["a", "b", "a", "e", "f"])
    found = retrieval({"train": TRAIN, "held_out": HELD_OUT}, samples)
    # 29 was asked to be at 0, which all others are nearer to; 28 at 15: 30 and 20 are nearer
    assert found.at_1 == {"train": pytest.approx(2 / 3), "held_out": 0.5}
    assert found.at_5 == {"train": pytest.approx(2 / 3), "held_out": 1.0}
    assert found.asked == {"train": 3, "held_out": 2}
    assert (found.chance_at_1, found.chance_at_5) == (1 / 6, 5 / 6)


def test_samples_that_know_nothing_reach_chance():
    rng = np.random.default_rng(0)
    keys = [f"{number}" for number in range(50)]
    real = summed(rng.permutation(50), keys)
    found = retrieval({"train": real}, summed(rng.uniform(-0.5, 49.5, 20_000), rng.choice(keys, 20_000)))
    assert found.at_1["train"] == pytest.approx(found.chance_at_1, abs=0.004)
    assert found.at_5["train"] == pytest.approx(found.chance_at_5, abs=0.01)


def test_a_sample_of_an_unknown_image_is_counted_and_none_known_is_an_error():
    found = retrieval({"train": TRAIN}, summed([0, 1], ["a", "elsewhere"]))
    assert found.asked == {"train": 1, "unknown": 1}
    with pytest.raises(DataError, match="asked_key: expected samples that name real images by key, got ''"):
        retrieval({"train": TRAIN}, summed([0, 1], ["", ""]))
    with pytest.raises(DataError, match="expected keys that differ, got 'a' twice"):
        retrieval({"train": TRAIN, "held_out": summed([1], ["a"])}, summed([0], ["a"]))


def test_where_nobody_asks_there_is_no_figure():
    assert retrieval({"train": TRAIN}, summed([0, 1], [])) is None


def test_keys_stay_with_their_images_when_summaries_travel_and_join():
    parts = [Summary.from_bytes(part.to_bytes()) for part in (HELD_OUT, TRAIN)]
    parts = [replace(part, moments=replace(part.moments, count=1)) for part in parts]
    assert joined(parts).compared.keys.tolist() == ["e", "f", "a", "b", "c", "d"]


def test_the_report_shows_them_beside_chance():
    measures = Measures(
        feature_space="a line",
        counts={"samples": 5},
        retrieval_at_1_held_out=0.5,
        retrieval_at_1_chance=1 / 3953,
        retrieval_at_5_chance=5 / 3953,
    )
    page = Report("tried", measures, {}, [], "")
    assert "1 in 3,953 by chance" in render(page)
    (line,) = headlines(summary(page))
    assert line.split() == ["retrieval_at_1_held_out", "0.5000", "(0.0003", "retrieval_at_1_chance)"]


def test_drawings_beside_themselves_are_all_found_by_the_key_in_their_json(here):  # noqa: F811
    drawings = Pack(
        source=OpenMoji(groups=("animal-bird",), unseen_combinations=0, size=32),
        image_size=32,
        held_out_fraction=0.25,
        samples_per_shard=8,
    )
    compare = Evaluate(
        images="real",
        samples="drawn",
        autoencoder=None,
        model=None,
        features=PooledPixels(size=16, grey=False),
        asked_key="hexcode",
    )
    found = report(run(here / "store", real=drawings, drawn=drawings, evaluate=compare))
    assert found["retrieval_at_1_train"] == found["retrieval_at_1_held_out"] == 1.0
    assert found["asked_for"]["train"] + found["asked_for"]["held_out"] == found["counts"]["samples"]
    assert found["retrieval_at_1_chance"] == pytest.approx(1 / found["counts"]["samples"])
