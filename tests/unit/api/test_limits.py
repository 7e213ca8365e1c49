"""Limits: token buckets with a clock given in, rows and prompts of a submission."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayograph.api.guards import rate_limits as limits
from rayograph.api.guards.rate_limits import Buckets, Limits, Rate
from rayograph.api.submission import Submission
from rayograph.errors import ConfigError


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_burst_passes_at_once_and_then_one_at_a_time():
    clock = Clock()
    buckets = Buckets(Rate(per_second=2, burst=3), clock)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    clock.now = 0.4
    assert buckets.take("a") == pytest.approx(0.1)
    clock.now = 0.5
    assert buckets.take("a") == 0
    assert buckets.take("a") == pytest.approx(0.5)


def test_one_clients_requests_do_not_count_against_anothers():
    buckets = Buckets(Rate(per_second=1, burst=1), Clock())
    assert (buckets.take("a"), buckets.take("b")) == (0, 0)
    assert buckets.take("a") > 0


def test_a_rest_fills_the_bucket_but_never_over_its_brim():
    clock = Clock()
    buckets = Buckets(Rate(per_second=5, burst=2), clock)
    clock.now = 1e6
    assert [buckets.take("a") > 0 for _ in range(3)] == [False, False, True]


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_no_client_ever_gets_more_than_burst_and_rate_allow(waits):
    clock = Clock()
    buckets = Buckets(Rate(per_second=1.5, burst=4), clock)
    passed = 0
    for wait in waits:
        clock.now += wait
        passed += buckets.take("a") == 0
        assert passed <= 4 + 1.5 * clock.now + 1e-6


def test_buckets_of_ever_new_clients_do_not_pile_up(monkeypatch):
    monkeypatch.setattr(limits, "MOST_CLIENTS", 10)
    buckets = Buckets(Rate(per_second=1, burst=1), Clock())
    for number in range(1000):
        assert buckets.take(str(number)) == 0
    assert len(buckets._left) == 10
    assert buckets.take("999") > 0


def submission(**rows):
    return Submission.model_validate({"model": "m", "rows": [{"class": 1, **rows}] * 3})


def test_rows_and_prompts_up_to_the_limit_pass_and_the_next_one_is_named():
    Limits(rows=3, prompt_characters=5).check(submission(prompt="12345"))
    with pytest.raises(ConfigError, match=r"^rows: expected at most 2, got 3"):
        Limits(rows=2).check(submission())
    with pytest.raises(ConfigError, match=r"^rows\.0\.prompt: expected at most 4 characters, got 5$"):
        Limits(prompt_characters=4).check(submission(prompt="12345"))
