"""When a step is refused, and what the loop does then."""

import math
from collections.abc import Mapping

import numpy as np
import pytest

from rayograph.shards.batch import Batch
from rayograph.training.divergence import MEMORY, DivergenceDetector
from rayograph.training.loop import WAITED, Hook, fit
from rayograph.training.training_progress import TrainingProgress

BATCH = 4


def steady(detector, steps=MEMORY, norm=2.0):
    for _ in range(steps):
        assert detector.fault({"loss": 1.0, "gradient_norm": norm}) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_not_finite_is_refused_by_name_from_the_first_step_on(value):
    assert DivergenceDetector(100.0).fault({"kl": value, "gradient_norm": 1.0}) == f"kl is {value}"
    assert DivergenceDetector(100.0).fault({"kl": 0.0, "gradient_norm": value}) == f"gradient_norm is {value}"


def test_a_gradient_norm_far_above_the_usual_is_refused_once_the_usual_is_known():
    young = DivergenceDetector(10.0)
    assert young.fault({"gradient_norm": 1.0}) is None
    assert young.fault({"gradient_norm": 1000.0}) is None
    detector = DivergenceDetector(10.0)
    steady(detector)
    assert detector.fault({"gradient_norm": 19.0}) is None
    assert "gradient_norm is 50, more than 10 times the usual 2.0" in detector.fault({"gradient_norm": 50.0})
    steady(detector, 5)  # a refused one has not become usual


def test_what_is_usual_changes_with_the_training():
    detector = DivergenceDetector(10.0)
    steady(detector)
    steady(detector, 10 * MEMORY, norm=15.0)
    assert detector.fault({"gradient_norm": 100.0}) is None


def test_a_guard_goes_on_from_its_state():
    one, other = DivergenceDetector(10.0), DivergenceDetector(10.0)
    steady(one)
    other.load(one.state())
    assert other == one


class Learner:
    """Counts its steps; goes wrong at the given ones."""

    names_before: Mapping[str, str] = {}

    monitor_metric = "loss"

    def __init__(self, wrong):
        self.seen, self.notes, self._wrong = [], [], wrong

    def engines(self):
        return {}

    def exports(self):
        yield from ()

    def step(self, batch, images_seen):
        self.seen.append(images_seen)
        return {"loss": math.nan if images_seen in self._wrong else 1.0, "gradient_norm": 1.0}


def test_the_loop_undoes_a_refused_step_and_goes_on_behind_it():
    learner, progress, told, hooked = Learner({2 * BATCH}), TrainingProgress(BATCH, 5), [], []
    batches = (Batch(np.arange(step * BATCH, (step + 1) * BATCH), {}) for step in range(5))
    hook = Hook(BATCH, lambda _, progress, metrics: hooked.append((progress.images_seen, metrics)))

    def expected(step):
        return np.arange(step * BATCH, (step + 1) * BATCH)

    fit(learner, batches, progress, expected, [hook], DivergenceDetector(100.0), told.append)
    assert learner.seen == [step * BATCH for step in range(5)]
    assert told == ["loss is nan"]
    assert [images for images, _ in hooked] == [BATCH, 2 * BATCH, 4 * BATCH, 5 * BATCH]
    assert all(metrics[WAITED] >= 0 for _, metrics in hooked)


def test_a_step_that_fp16_left_out_counts_for_nothing():
    detector = DivergenceDetector(10.0)
    steady(detector)
    known = detector.state()
    assert detector.fault({"loss": 1.0, "step_left_out": 1.0}) is None
    assert detector.state() == known
