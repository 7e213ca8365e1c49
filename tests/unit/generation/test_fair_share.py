"""Fair shares of a cluster: by priority, none more than it needs, none less than one replica, nothing idle."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayograph.generation import fair_share as shares
from rayograph.generation.fair_share import SILENCE_SECONDS, Demand, FairShare, FairShareActor, divide

WANT = st.builds(Demand, st.integers(1, 100), st.floats(1, 100), st.floats(0.1, 1))
WANTS = st.dictionaries(st.sampled_from("abcdef"), WANT, min_size=1)
CAPACITY = st.floats(0, 300)


@given(CAPACITY, WANTS)
def test_no_more_is_given_than_there_is_unless_one_replica_each_is_more(capacity, wants):
    parts = divide(capacity, wants)
    assert parts.keys() == wants.keys()
    assert sum(parts.values()) <= max(capacity, sum(want.least for want in wants.values())) + 1e-6


@given(CAPACITY, WANTS)
def test_each_gets_its_least_none_more_than_it_needs_and_nothing_lies_idle(capacity, wants):
    parts = divide(capacity, wants)
    for job, want in wants.items():
        assert want.least - 1e-9 <= parts[job] <= want.most + 1e-9
    if any(parts[job] < want.most - 1e-6 for job, want in wants.items()):
        assert sum(parts.values()) >= capacity - 1e-6


@given(CAPACITY, WANTS)
def test_those_that_get_neither_all_nor_only_their_least_share_by_priority(capacity, wants):
    parts = divide(capacity, wants)
    level = {
        job: parts[job] / want.priority
        for job, want in wants.items()
        if want.least + 1e-6 < parts[job] < want.most - 1e-6
    }
    assert not level or math.isclose(min(level.values()), max(level.values()), rel_tol=1e-6)


@given(CAPACITY, st.floats(0, 50), WANTS)
def test_more_capacity_takes_from_nobody(capacity, more, wants):
    before, after = divide(capacity, wants), divide(capacity + more, wants)
    assert all(after[job] >= before[job] - 1e-6 for job in wants)


@given(CAPACITY, WANTS, WANT)
def test_a_job_that_goes_leaves_the_others_no_worse(capacity, wants, going):
    before, after = divide(capacity, wants | {"going": going}), divide(capacity, wants)
    assert all(after[job] >= before[job] - 1e-6 for job in wants)


@pytest.mark.parametrize(
    ("capacity", "wants", "parts"),
    [
        (8, {"a": Demand(3, 100, 1), "b": Demand(1, 100, 1)}, {"a": 6, "b": 2}),
        (8, {"a": Demand(3, 2, 1), "b": Demand(1, 100, 1)}, {"a": 2, "b": 6}),
        (8, {"a": Demand(1, 100, 1)}, {"a": 8}),
        (8, {"a": Demand(100, 100, 1), "b": Demand(1, 100, 1)}, {"a": 7, "b": 1}),
        (1, {"a": Demand(5, 100, 1), "b": Demand(1, 100, 1)}, {"a": 1, "b": 1}),
        (8, {"a": Demand(1, 0, 1), "b": Demand(1, 100, 1)}, {"a": 1, "b": 7}),
        (0, {"a": Demand(1, 4, 0.5)}, {"a": 0.5}),
    ],
)
def test_parts_of_a_few_small_clusters(capacity, wants, parts):
    assert divide(capacity, wants) == pytest.approx(parts)


def test_a_silent_job_is_forgotten_and_one_that_leaves_at_once(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(shares.time, "monotonic", lambda: now[0])
    table, want = FairShareActor(), Demand(1, 100, 1)
    assert table.part("a", want, 8) == 8
    assert table.part("b", want, 8) == 4
    now[0] = SILENCE_SECONDS - 1
    assert table.part("b", want, 8) == 4
    now[0] = SILENCE_SECONDS + 0.5
    assert table.part("b", want, 8) == 8
    assert table.part("a", want, 8) == 4
    table.leave("b")
    table.leave("never there")
    assert table.part("a", want, 8) == 8


@pytest.mark.parametrize(("left", "replicas"), [(0, 0), (1, 1), (3, 3), (100, 5)])
def test_alone_a_job_has_all_it_wants_but_no_more_replicas_than_units(left, replicas):
    share = FairShare("a", 1, 5, 0.5, "CPU", shared=False)
    assert share.now(left) == replicas
    share.close()
