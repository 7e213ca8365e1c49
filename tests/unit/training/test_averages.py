"""Averages over the steps: their decays, and others solved for afterwards."""

import numpy as np
import pytest

from rayograph.config.job.training import LONGEST_EMA
from rayograph.training.checkpoints.averages import Average, ConstantDecay, PowerFunction, gamma_of, mixture

STEPS = 2000


def profile(average: Average, steps: int) -> np.ndarray:
    """How much each step's weights count in the average after `steps`, by its recursion; the beginning's left out."""
    weights = np.zeros(steps)
    for step in range(steps):
        decay = average.decay_at(step)
        weights *= decay
        weights[step] = 1 - decay
    return weights


def test_a_constant_decay_warms_up_to_its_limit() -> None:
    assert [ConstantDecay(0.5).decay_at(step) for step in (0, 1, 7, 1000)] == [2 / 11, 0.25, 0.5, 0.5]


@pytest.mark.parametrize("length", [0.05, 0.1, 0.2, 0.27])
def test_a_power_function_is_as_long_as_it_says(length: float) -> None:
    weights = profile(PowerFunction(length), STEPS)
    times = np.arange(1, STEPS + 1) / STEPS
    mean = (weights * times).sum()
    assert weights.sum() == pytest.approx(1.0)
    assert np.sqrt((weights * (times - mean) ** 2).sum()) == pytest.approx(length, rel=0.02)


@pytest.mark.parametrize("length", [0.03, 0.1, 0.25])
def test_the_exponent_gives_the_length_back(length: float) -> None:
    gamma = gamma_of(length)
    assert np.sqrt((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3))) == pytest.approx(length)


def test_the_longest_is_nearly_a_plain_mean() -> None:
    assert 0 < gamma_of(LONGEST_EMA) < 0.2


def test_no_snapshot_but_the_wanted_one_is_mixed_in() -> None:
    shares, missed = mixture([(0.05, STEPS), (0.1, STEPS)], 0.1, STEPS)
    assert shares == pytest.approx([0.0, 1.0], abs=1e-6)
    assert missed < 1e-3


def test_shares_are_one_together_and_a_mixture_says_how_far_it_is_off() -> None:
    """A U-Net does not forgive weights that are multiplied by a factor."""
    for kept, length, least in (((0.05,), 0.2, 0.5), ((0.05, 0.1), 0.2, 0.3)):
        shares, missed = mixture([(value, STEPS) for value in kept], length, STEPS)
        assert sum(shares) == pytest.approx(1.0)
        assert missed > least


@pytest.mark.parametrize("length", [0.06, 0.08, 0.15, 0.2])
@pytest.mark.parametrize("at", [STEPS, STEPS // 2])
def test_snapshots_of_two_lengths_give_any_other(length: float, at: int) -> None:
    snapshots = [(kept, steps) for steps in range(125, at + 1, 125) for kept in (0.05, 0.1)]
    shares, missed = mixture(snapshots, length, at)
    mixed = sum(
        share * np.pad(profile(PowerFunction(kept), steps), (0, at - steps))
        for share, (kept, steps) in zip(shares, snapshots, strict=True)
    )
    wanted = profile(PowerFunction(length), at)
    off = np.linalg.norm(mixed - wanted) / np.linalg.norm(wanted)
    assert off < 0.1
    assert missed == pytest.approx(off, abs=0.02)
    nearest = min(np.linalg.norm(profile(PowerFunction(kept), at) - wanted) for kept in (0.05, 0.1))
    assert np.linalg.norm(mixed - wanted) < 0.2 * nearest  # far better than what was kept
