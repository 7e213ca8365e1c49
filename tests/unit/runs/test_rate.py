"""Rates and times left: from when parts came, within a factor of two from the first estimate on."""

import pytest

from rayograph.runs.terminal.rate import Rate


def first_estimate(arrivals, total, at_once=1):
    """(estimated, true) seconds left at the first moment that there is an estimate, by tenths of a second."""
    rate, end = Rate(at_once), arrivals[-1][0]
    assert arrivals[-1][1] == total
    pending = list(arrivals)
    for tick in range(int(end * 10)):
        now = tick / 10
        while pending and pending[0][0] <= now:
            rate.arrived(*pending.pop(0))
        left = rate.seconds_left(now, total)
        if left is not None:
            return left, end - now
    return None


@pytest.mark.parametrize("start_up", [0.0, 5.0, 120.0])
@pytest.mark.parametrize("every", [0.05, 1.0, 7.0])
def test_the_first_estimate_leaves_start_up_out(start_up, every):
    arrivals = [(start_up + every * part, 64.0 * part) for part in range(1, 101)]
    estimated, true = first_estimate(arrivals, 6400.0)
    assert true / 2 <= estimated <= 2 * true
    assert estimated == pytest.approx(true, rel=0.1, abs=1.0)


def test_the_first_estimate_is_not_of_steps_that_warm_up():
    """As the demo's second stage on two cores: three seconds at a third of the later rate."""
    slow = [(20 + 0.2 * part, 64.0 * part) for part in range(1, 16)]
    fast = [(23 + 0.075 * part, 64.0 * (15 + part)) for part in range(1, 786)]
    estimated, true = first_estimate(slow + fast, 64.0 * 800)
    assert true / 2 <= estimated <= 2 * true


@pytest.mark.parametrize("at_once", [2, 3, 8])
def test_parts_that_come_in_bursts_do_not_look_fast(at_once):
    """Replicas that draw side by side land their units almost together, every ten seconds."""
    arrivals = [
        (30 + 10 * (part // at_once) + 0.1 * (part % at_once), 16.0 * (part + 1)) for part in range(12 * at_once)
    ]
    estimated, true = first_estimate(arrivals, 16.0 * 12 * at_once, at_once)
    assert true / 2 <= estimated <= 2 * true
    rate = Rate(at_once)
    for when, done in arrivals:
        rate.arrived(when, done)
        now = rate.per_second(when)
        assert now is None or 0.5 <= now / (1.6 * at_once) <= 2


def test_the_rate_moves_with_the_work():
    rate = Rate()
    for second in range(100):
        rate.arrived(second, 10.0 * second)
    assert rate.per_second(99) == pytest.approx(10)
    for second in range(100, 140):
        rate.arrived(second, 990 + 2.0 * (second - 99))
    assert rate.per_second(139) == pytest.approx(2, rel=0.05)


def test_what_is_overdue_slows_the_rate_and_time_runs_on_between_arrivals():
    rate = Rate()
    for second in range(0, 50, 5):
        rate.arrived(second, 10.0 * second)
    assert rate.per_second(45) == rate.per_second(49) == pytest.approx(10)
    assert rate.per_second(200) < 3
    assert rate.seconds_left(47, 1000) == pytest.approx(rate.seconds_left(45, 1000) - 2)
    assert rate.seconds_left(46, 450.0) == 0


def test_nothing_is_made_up_of_one_arrival_or_of_none():
    rate = Rate()
    assert rate.per_second(0) is None
    rate.arrived(1.0, 10)
    assert rate.per_second(100) is None
    rate.arrived(6.0, 35)
    assert rate.per_second(6.0) == 5
    rate.restart()
    assert rate.seconds_left(7.0, 100) is None
