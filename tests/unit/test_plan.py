"""The sample order: a permutation each epoch, the same for every number of workers, resumable at any step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayograph.errors import ConfigError, DataError
from rayograph.shards.plan import Plan


@st.composite
def arguments(draw):
    """Of a plan. It is made in the test: its checked types roll dice, which hypothesis forbids in here."""
    lanes = draw(st.integers(1, 8))
    return {
        "counts": tuple(draw(st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any))),
        "seed": draw(st.integers(0, 2**64 - 1)),
        "global_batch_size": lanes * draw(st.integers(1, 5)),
        "lanes": lanes,
        "slice_rows": draw(st.integers(1, 9)),
        "window_rows": draw(st.integers(1, 30)),
    }


def divisors(number):
    return [n for n in range(1, number + 1) if number % n == 0]


def sample_numbers(plan, positions):
    """Samples numbered through all shards in their order."""
    shards, rows = plan.locate(positions)
    counts = np.array(plan.counts)
    assert (rows >= 0).all()
    assert (rows < counts[shards]).all()
    return (np.cumsum(counts) - counts)[shards] + rows


def epoch_of(plan, epoch):
    return sample_numbers(plan, np.arange(epoch * plan.size, (epoch + 1) * plan.size))


def stream(plan, steps, workers=1):
    """(steps, B): what all workers together see, worker beside worker."""
    parts = [sample_numbers(plan, plan.positions(steps, worker, workers)) for worker in range(workers)]
    return np.concatenate(parts, axis=1)


PHOTOS = Plan((512, 256, 1024, 128, 128), seed=3, global_batch_size=64, lanes=8, slice_rows=32, window_rows=128)


@given(declared=arguments(), epoch=st.integers(0, 1000))
def test_every_epoch_is_a_permutation_of_the_data_set(declared, epoch):
    plan = Plan(**declared)
    assert np.array_equal(np.sort(epoch_of(plan, epoch)), np.arange(plan.size))


@settings(max_examples=50)
@given(declared=arguments(), first=st.integers(0, 50))
def test_all_workers_together_see_the_single_workers_stream_for_every_allowed_number(declared, first):
    plan = Plan(**declared)
    steps = range(first, first + 6)
    alone = stream(plan, steps)
    positions = np.arange(steps.start * plan.global_batch_size, steps.stop * plan.global_batch_size)
    assert np.array_equal(alone.ravel(), sample_numbers(plan, positions))
    for workers in divisors(plan.lanes):
        assert np.array_equal(stream(plan, steps, workers), alone)


@settings(max_examples=50)
@given(declared=arguments(), data=st.data())
def test_resuming_at_any_step_with_any_allowed_number_of_workers_continues_the_stream(declared, data):
    plan = Plan(**declared)
    stop = data.draw(st.integers(1, 12))
    at = data.draw(st.integers(0, stop))
    before, after = (data.draw(st.sampled_from(divisors(plan.lanes))) for _ in range(2))
    resumed = np.concatenate([stream(plan, range(at), before), stream(plan, range(at, stop), after)])
    assert np.array_equal(resumed, stream(plan, range(stop)))


@settings(max_examples=50)
@given(declared=arguments(), data=st.data())
def test_a_position_asked_for_alone_has_the_sample_it_has_among_others(declared, data):
    plan = Plan(**declared)
    positions = np.array(data.draw(st.lists(st.integers(0, 3 * plan.size), min_size=1, max_size=20)))
    together = sample_numbers(plan, positions)
    assert together.tolist() == [sample_numbers(plan, np.array([position]))[0] for position in positions]


@given(declared=arguments(), data=st.data())
def test_every_lane_has_equally_many_rows_of_every_step(declared, data):
    plan = Plan(**declared)
    workers = data.draw(st.sampled_from(divisors(plan.lanes)))
    owned = [plan.lanes_of(worker, workers) for worker in range(workers)]
    assert [lane for lanes in owned for lane in lanes] == list(range(plan.lanes))
    shares = [plan.positions(range(3), worker, workers) for worker in range(workers)]
    assert {share.shape for share in shares} == {(3, plan.global_batch_size // workers)}


def test_two_epochs_differ_and_agree_in_hardly_a_place():
    first, second = epoch_of(PHOTOS, 0), epoch_of(PHOTOS, 1)
    assert (first == second).mean() < 0.01
    assert (first == np.arange(PHOTOS.size)).mean() < 0.01


@pytest.mark.parametrize("seed", [0, 1, 2, 2**63])
def test_another_seed_gives_another_order_and_the_same_seed_the_same(seed):
    plan, again = (Plan(PHOTOS.counts, seed, 64, 8) for _ in range(2))
    other = Plan(PHOTOS.counts, seed + 1, 64, 8)
    assert np.array_equal(epoch_of(plan, 5), epoch_of(again, 5))
    assert (epoch_of(plan, 5) == epoch_of(other, 5)).mean() < 0.01


def lane_windows(plan, epoch):
    """The samples of each lane's windows, in the order the lane gives them."""
    positions = np.arange(epoch * plan.size, (epoch + 1) * plan.size)
    numbers = epoch_of(plan, epoch)
    lanes = positions % plan.global_batch_size // (plan.global_batch_size // plan.lanes)
    for lane in range(plan.lanes):
        taken = numbers[lanes == lane]
        yield from (taken[at : at + plan.window_rows] for at in range(0, len(taken), plan.window_rows))


def test_a_window_of_a_lane_is_read_from_as_few_slices_as_it_can_touch():
    windows = list(lane_windows(PHOTOS, 1))
    assert len(windows) == PHOTOS.size // PHOTOS.window_rows
    for window in windows:
        runs = 1 + np.count_nonzero(np.diff(np.sort(window)) > 1)
        assert runs <= len(window) // PHOTOS.slice_rows + 1


def test_a_window_of_a_lane_is_mixed_through():
    for window in lane_windows(PHOTOS, 1):
        slices = window // PHOTOS.slice_rows
        assert len(np.unique(slices[:16])) >= 3  # of at most five
        assert np.count_nonzero(np.diff(window) == 1) < len(window) / 10


def test_a_lane_meets_other_samples_in_the_next_epoch():
    first, second = next(lane_windows(PHOTOS, 0)), next(lane_windows(PHOTOS, 1))
    assert len(np.intersect1d(first, second)) < len(first) / 2


def test_shards_without_samples_are_never_named():
    shards, _ = Plan((0, 3, 0, 4, 0), 0, 4, 2).locate(np.arange(70))
    assert set(shards.tolist()) == {1, 3}


def test_a_position_ten_billion_images_along_is_found_at_once():
    plan = Plan((1000,) * 100, 0, 64, 8)
    far = 10**10 // 64
    assert np.array_equal(np.sort(epoch_of(plan, 10**5)), np.arange(plan.size))
    assert np.array_equal(stream(plan, range(far, far + 20), 8), stream(plan, range(far, far + 20)))


@pytest.mark.parametrize("counts", [(), (0,), (0, 0)])
def test_a_plan_over_nothing_is_refused(counts):
    with pytest.raises(DataError, match="expected at least one sample, got none"):
        Plan(counts, 0, 8, 8)


def test_lanes_that_do_not_divide_the_global_batch_are_refused():
    with pytest.raises(ConfigError, match="lanes: expected a divisor of 8, got 3"):
        Plan((10,), 0, 8, 3)


@pytest.mark.parametrize("workers", [3, 5, 16])
def test_a_number_of_workers_that_does_not_divide_the_lanes_is_refused(workers):
    with pytest.raises(ConfigError, match=f"workers: expected a divisor of 8 lanes, got {workers}"):
        PHOTOS.positions(range(1), 0, workers)
