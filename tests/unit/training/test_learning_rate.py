"""The learning rate at every image: up over the warm-up, then constant, or down a cosine to its minimum."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayograph.config import Denoiser, TrainDiffusion
from rayograph.training.setup import learning_rate
from rayograph.training.training_progress import learning_rate_at

SAID = {"peak": 1e-3, "warmup_images": 100, "total_images": 1100}


def test_a_warm_up_rises_from_nothing_to_the_peak_and_a_constant_stays_there():
    rates = [learning_rate_at(seen, schedule="constant", **SAID) for seen in (0, 50, 100, 600, 5000)]
    assert rates == pytest.approx([0.0, 5e-4, 1e-3, 1e-3, 1e-3])


@pytest.mark.parametrize("minimum", [0.0, 1e-5, 1e-3])
def test_a_cosine_is_halfway_in_the_middle_and_at_its_minimum_from_the_end_on(minimum):
    rates = [learning_rate_at(seen, schedule="cosine", minimum=minimum, **SAID) for seen in (100, 600, 1100, 9999)]
    assert rates == pytest.approx([1e-3, (1e-3 + minimum) / 2, minimum, minimum])


@given(st.integers(100, 1099), st.floats(0, 1e-3))
def test_a_cosine_only_falls_and_never_below_its_minimum(seen, minimum):
    now, later = (learning_rate_at(at, schedule="cosine", minimum=minimum, **SAID) for at in (seen, seen + 1))
    assert minimum - 1e-12 <= later <= now + 1e-12


def test_a_trainings_minimum_is_its_recipes():
    recipe = TrainDiffusion(
        network=Denoiser(),
        total_images=64,
        global_batch_size=8,
        learning_rate=1e-3,
        learning_rate_schedule="cosine",
        learning_rate_minimum=1e-5,
    )
    rates = [learning_rate(recipe, seen) for seen in range(0, 64, 8)]
    assert rates == sorted(rates, reverse=True)
    assert 1e-5 < rates[-1] < rates[0] < 1e-3
    assert learning_rate(recipe, 64) == pytest.approx(1e-5)  # at the step after the last
