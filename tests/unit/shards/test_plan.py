"""The sample order: a permutation each epoch, the same for every number of workers, resumable at any step."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayograph.errors import ConfigError, DataError
from rayograph.shards.order.dataset_order import DataSet, slice_rows
from rayograph.shards.order.sample_order import Plan


@st.composite
def arguments(draw):
    """Of a plan. It is made in the test: its checked types roll dice, which hypothesis forbids in here."""
    lanes = draw(st.integers(1, 8))
    return {
        "counts": tuple(draw(st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any))),
        "slice_rows": draw(st.integers(1, 9)),
        "seed": draw(st.integers(0, 2**64 - 1)),
        "global_batch_size": lanes * draw(st.integers(1, 5)),
        "lanes": lanes,
        "window_slices": draw(st.integers(1, 30)),
    }


def made(counts, slice_rows, **rest):
    """A plan over one data set."""
    return Plan((DataSet(counts, slice_rows),), **rest)


def size(plan):
    return sum(data_set.size for data_set in plan.sets)


def divisors(number):
    return [n for n in range(1, number + 1) if number % n == 0]


def sample_numbers(plan, positions):
    """Samples numbered through all shards in their order."""
    shards, rows = plan.locate(positions)
    counts = np.array([count for data_set in plan.sets for count in data_set.counts])
    assert (rows >= 0).all()
    assert (rows < counts[shards]).all()
    return (np.cumsum(counts) - counts)[shards] + rows


def epoch_of(plan, epoch):
    return sample_numbers(plan, np.arange(epoch * size(plan), (epoch + 1) * size(plan)))


def stream(plan, steps, workers=1):
    """(steps, B): what all workers together see, in the order of the positions they see it at."""
    positions = np.concatenate([plan.positions(steps, worker, workers) for worker in range(workers)], axis=1)
    order = np.argsort(positions, axis=1)
    batches = np.arange(steps.start, steps.stop)[:, None] * plan.global_batch_size
    assert np.array_equal(np.take_along_axis(positions, order, 1), batches + np.arange(plan.global_batch_size))
    return np.take_along_axis(sample_numbers(plan, positions), order, 1)


COUNTS = (512, 256, 1024, 128, 128)
PHOTOS = made(COUNTS, 32, seed=3, global_batch_size=64, lanes=8, window_slices=32)
WINDOW = PHOTOS.window_steps * 8  # turns of a lane


@given(declared=arguments(), epoch=st.integers(0, 1000))
def test_every_epoch_is_a_permutation_of_the_data_set(declared, epoch):
    plan = made(**declared)
    assert np.array_equal(np.sort(epoch_of(plan, epoch)), np.arange(size(plan)))


@settings(max_examples=50)
@given(declared=arguments(), first=st.integers(0, 50))
def test_all_workers_together_see_the_single_workers_stream_for_every_allowed_number(declared, first):
    plan = made(**declared)
    steps = range(first, first + 6)
    alone = stream(plan, steps)
    positions = np.arange(steps.start * plan.global_batch_size, steps.stop * plan.global_batch_size)
    assert np.array_equal(alone.ravel(), sample_numbers(plan, positions))
    for workers in divisors(plan.lanes):
        assert np.array_equal(stream(plan, steps, workers), alone)


@settings(max_examples=50)
@given(declared=arguments(), data=st.data())
def test_resuming_at_any_step_with_any_allowed_number_of_workers_continues_the_stream(declared, data):
    plan = made(**declared)
    stop = data.draw(st.integers(1, 12))
    at = data.draw(st.integers(0, stop))
    before, after = (data.draw(st.sampled_from(divisors(plan.lanes))) for _ in range(2))
    resumed = np.concatenate([stream(plan, range(at), before), stream(plan, range(at, stop), after)])
    assert np.array_equal(resumed, stream(plan, range(stop)))


@settings(max_examples=50)
@given(declared=arguments(), data=st.data())
def test_a_position_asked_for_alone_has_the_sample_it_has_among_others(declared, data):
    plan = made(**declared)
    positions = np.array(data.draw(st.lists(st.integers(0, 3 * size(plan)), min_size=1, max_size=20)))
    together = sample_numbers(plan, positions)
    assert together.tolist() == [sample_numbers(plan, np.array([position]))[0] for position in positions]


@given(declared=arguments(), data=st.data())
def test_every_lane_has_equally_many_rows_of_every_step(declared, data):
    plan = made(**declared)
    workers = data.draw(st.sampled_from(divisors(plan.lanes)))
    owned = [plan.lanes_of(worker, workers) for worker in range(workers)]
    assert [lane for lanes in owned for lane in lanes] == list(range(plan.lanes))
    shares = [plan.positions(range(3), worker, workers) for worker in range(workers)]
    assert {share.shape for share in shares} == {(3, plan.global_batch_size // workers)}


def test_two_epochs_differ_and_agree_in_hardly_a_place():
    first, second = epoch_of(PHOTOS, 0), epoch_of(PHOTOS, 1)
    assert (first == second).mean() < 0.01
    assert (first == np.arange(size(PHOTOS))).mean() < 0.01


@pytest.mark.parametrize("seed", [0, 1, 2, 2**63])
def test_another_seed_gives_another_order_and_the_same_seed_the_same(seed):
    plan, again = (Plan(PHOTOS.sets, seed, 64, 8) for _ in range(2))
    other = Plan(PHOTOS.sets, seed + 1, 64, 8)
    assert np.array_equal(epoch_of(plan, 5), epoch_of(again, 5))
    assert (epoch_of(plan, 5) == epoch_of(other, 5)).mean() < 0.01


def lane_windows(plan, epoch):
    """The samples of each lane's windows, in the order the lane gives them."""
    positions = np.arange(epoch * size(plan), (epoch + 1) * size(plan))
    numbers = epoch_of(plan, epoch)
    for lane in range(plan.lanes):
        taken = numbers[positions % plan.lanes == lane]
        yield from (taken[at : at + WINDOW] for at in range(0, len(taken), WINDOW))


def test_a_window_of_a_lane_is_read_from_as_few_slices_as_it_can_touch():
    windows = list(lane_windows(PHOTOS, 1))
    assert len(windows) == size(PHOTOS) // WINDOW
    for window in windows:
        runs = 1 + np.count_nonzero(np.diff(np.sort(window)) > 1)
        assert runs <= len(window) // 32 + 2  # a slice may lie across the start and the end of the data


def test_a_window_of_a_lane_is_mixed_through():
    for window in lane_windows(PHOTOS, 1):
        slices = np.cumsum(np.diff(np.sort(window), prepend=-2) > 1)[np.argsort(np.argsort(window))]
        assert len(np.unique(slices[:32])) >= min(2, len(np.unique(slices)))
        assert np.count_nonzero(np.diff(window) == 1) < len(window) / 10


def test_a_lane_meets_other_samples_in_the_next_epoch():
    first, second = next(lane_windows(PHOTOS, 0)), next(lane_windows(PHOTOS, 1))
    assert len(np.intersect1d(first, second)) < len(first) / 2


@settings(max_examples=50)
@given(declared=arguments(), data=st.data())
def test_windows_cover_the_steps_and_end_where_the_plans_windows_do(declared, data):
    plan = made(**declared)
    first = data.draw(st.integers(0, 50))
    steps = range(first, first + data.draw(st.integers(1, 60)))
    runs = list(plan.windows(steps, data.draw(st.integers(1, 9))))
    assert [step for run in runs for step in run] == list(steps)
    assert all(run.stop % plan.window_steps == 0 for run in runs[:-1])


@settings(max_examples=50)
@given(declared=arguments(), weights=st.tuples(st.floats(0.1, 5), st.floats(0.1, 5)), data=st.data())
def test_a_mixture_has_its_shares_and_each_data_set_its_own_epochs(declared, weights, data):
    counts = (declared["counts"], (data.draw(st.integers(1, 50)),))
    sets = tuple(DataSet(c, declared["slice_rows"], weight) for c, weight in zip(counts, weights, strict=True))
    rest = {name: declared[name] for name in ("seed", "global_batch_size", "lanes", "window_slices")}
    plan = Plan(sets, **rest)
    steps = range(plan.window_steps * data.draw(st.integers(1, 12)))
    numbers = stream(plan, steps).ravel()
    for workers in divisors(plan.lanes):
        assert np.array_equal(stream(plan, steps, workers).ravel(), numbers)
    first = numbers < sets[0].size
    for share, mine, there in (
        (weights[0], first, range(sets[0].size)),
        (weights[1], ~first, range(sets[0].size, size(plan))),
    ):
        assert abs(mine.sum() - len(numbers) * share / sum(weights)) <= plan.lanes  # rounded down, lane by lane
        seen = np.bincount(numbers[mine] - there.start, minlength=len(there))
        # Over whole windows every place of the data set's own stream comes once: no sample a second time more than
        # an epoch before another comes at all, but for the lanes' ends.
        assert seen.max() - seen.min() <= 1


def test_a_substitute_is_fixed_random_and_of_the_same_data_set():
    plan = Plan((DataSet((50, 50)), DataSet((40,))), 7, 8, 4)
    positions = np.arange(200)
    shards, _ = plan.locate(positions)
    taken = [plan.substitute(int(position), 0) for position in positions]
    assert taken == [plan.substitute(int(position), 0) for position in positions]
    assert all((shard == 2) == (mine == 2) for (shard, _), mine in zip(taken, shards, strict=True))
    assert len(set(taken)) > 60
    assert plan.substitute(3, 0) != plan.substitute(3, 1)


@pytest.mark.parametrize(("samples", "total_bytes", "lanes", "rows"), [
    (10**6, 60_000 * 10**6, 8, 17),  # photos: a mebibyte
    (10**6, 17_000 * 10**6, 8, 61),  # moments
    (1437, 3_000 * 1437, 8, 2),      # a small data set: shuffled finely
    (10, 10, 8, 1),
    (10**9, 10**9, 8, 1024),
])  # fmt: skip
def test_slices_are_a_mebibyte_long_but_short_in_small_data_sets(samples, total_bytes, lanes, rows):
    assert slice_rows(samples, total_bytes, lanes) == rows


def test_what_travels_does_not_change_while_another_thread_uses_the_plan():
    """A worker reads its first window by itself while the plan is sent to the tasks that read the others."""
    plan = Plan((DataSet((30, 50)), DataSet((20,), weight=2.0)), 3, 8, 4)
    before = pickle.dumps(plan)
    found = plan.locate(np.arange(64))
    assert pickle.dumps(plan) == before
    again = pickle.loads(before)  # noqa: S301 - our own, a moment old
    assert again == plan
    assert np.array_equal(again.locate(np.arange(64)), found)


def test_shards_without_samples_are_never_named():
    shards, _ = Plan((DataSet((0, 3, 0, 4, 0)),), 0, 4, 2).locate(np.arange(70))
    assert set(shards.tolist()) == {1, 3}


def test_a_position_ten_billion_images_along_is_found_at_once():
    plan = Plan((DataSet((1000,) * 100),), 0, 64, 8)
    far = 10**10 // 64
    assert np.array_equal(np.sort(epoch_of(plan, 10**5)), np.arange(size(plan)))
    assert np.array_equal(stream(plan, range(far, far + 20), 8), stream(plan, range(far, far + 20)))


@pytest.mark.parametrize("counts", [(), (0,), (0, 0)])
def test_a_plan_over_nothing_is_refused(counts):
    with pytest.raises(DataError, match="expected at least one sample in every data set, got none"):
        Plan((DataSet(counts),), 0, 8, 8)


def test_lanes_that_do_not_divide_the_global_batch_are_refused():
    with pytest.raises(ConfigError, match="lanes: expected a divisor of 8, got 3"):
        Plan((DataSet((10,)),), 0, 8, 3)


@pytest.mark.parametrize("workers", [3, 5, 16])
def test_a_number_of_workers_that_does_not_divide_the_lanes_is_refused(workers):
    with pytest.raises(ConfigError, match=f"workers: expected a divisor of 8 lanes, got {workers}"):
        PHOTOS.positions(range(1), 0, workers)
