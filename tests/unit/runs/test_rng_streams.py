"""Draws that belong to samples: known answers, right distributions, no dependence on anything but their address."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rayograph.runs import philox as rng
from rayograph.runs.philox import integers, normal, uniform
from rayograph.runs.rng_streams import RngStream

MASK = 2**32 - 1
MANY = torch.arange(20_000)


def philox(counter, key):
    """Philox4x32-10 straight from the paper (Salmon et al. 2011, fig. 2 and sec. 3.3), in Python's own integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0, product1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (product1 >> 32) ^ c1 ^ k0, product1 & MASK, (product0 >> 32) ^ c3 ^ k1, product0 & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return [c0, c1, c2, c3]


def words(seed, stream, positions, count):
    return rng._words(seed, stream, torch.tensor(positions), count).tolist()


def seed_for(key0, key1, stream):
    """The seed that gives a key: the stream is mixed into its upper word."""
    return key0 | ((key1 ^ (stream * 0x9E3779B9 & MASK)) << 32)


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0,) * 4, (0,) * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((MASK,) * 4, (MASK,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_the_reference_of_these_tests_gives_the_published_answers(counter, key, answer):
    assert " ".join(f"{word:08x}" for word in philox(counter, key)) == answer


@given(position=st.integers(0, 2**63 - 1), step=st.integers(0, MASK))
def test_the_step_is_the_counters_last_word(position, step):
    found = rng._words(3, RngStream.SAMPLER_STEP, torch.tensor([position]), 8, step).tolist()[0]
    key = 3, RngStream.SAMPLER_STEP * 0x9E3779B9 & MASK
    expected = [philox((position & MASK, position >> 32, block, step), key) for block in (0, 1)]
    assert found == expected[0] + expected[1]


def test_words_of_counter_and_key_zero_are_the_published_ones():
    assert words(seed_for(0, 0, RngStream.NOISE), RngStream.NOISE, [0], 4) == [
        [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    ]


@given(
    key=st.tuples(st.integers(0, MASK), st.integers(0, MASK)),
    stream=st.sampled_from(RngStream),
    positions=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5),
    count=st.integers(1, 21),
)
def test_words_are_philox_of_position_and_block_under_seed_and_stream(key, stream, positions, count):
    expected = [
        [word for block in range(6) for word in philox((p & MASK, p >> 32, block, 0), key)][:count] for p in positions
    ]
    assert words(seed_for(*key, stream), stream, positions, count) == expected


@settings(max_examples=30)
@given(order=st.permutations(range(12)), cut=st.integers(0, 12))
def test_draws_do_not_depend_on_order_or_split_of_the_batch(order, cut):
    positions = torch.arange(12) * 1_000_003
    for draw in (
        lambda p: uniform(5, RngStream.NOISE, p, 7),
        lambda p: normal(5, RngStream.NOISE, p, (3, 5)),
        lambda p: integers(5, RngStream.TIMESTEP, p, 1000),
    ):
        whole = draw(positions)
        shuffled = positions[torch.tensor(order)]
        parts = torch.cat([draw(shuffled[:cut]), draw(shuffled[cut:])])
        torch.testing.assert_close(parts, whole[torch.tensor(order)], rtol=1e-6, atol=1e-6)


def test_seeds_streams_and_positions_give_unrelated_numbers():
    base = normal(1, RngStream.NOISE, MANY, (2,))
    for other in (
        normal(2, RngStream.NOISE, MANY, (2,)),
        normal(1 + 2**32, RngStream.NOISE, MANY, (2,)),
        normal(1, RngStream.POSTERIOR, MANY, (2,)),
        normal(1, RngStream.NOISE, MANY + 1, (2,)),
        normal(1, RngStream.NOISE, MANY + 2**32, (2,)),
        base.flip(1),
    ):
        assert abs(np.corrcoef(base.flatten(), other.flatten())[0, 1]) < 0.02


def test_every_stream_has_a_number_of_its_own():
    assert len({int(stream) for stream in RngStream.__members__.values()}) == len(RngStream.__members__)


def test_uniform_numbers_are_uniform_and_below_one():
    values = uniform(11, RngStream.CONDITION_DROP, MANY, 3)
    assert values.dtype == torch.float32
    assert values.min() >= 0.0
    assert values.max() < 1.0
    assert stats.kstest(values.double().flatten().numpy(), "uniform").pvalue > 0.01


def test_the_largest_word_still_gives_a_number_below_one(monkeypatch):
    monkeypatch.setattr(rng, "_words", lambda *_: torch.full((1, 4), MASK))
    assert uniform(0, RngStream.NOISE, torch.zeros(1, dtype=torch.int64), 4).max() < 1.0
    assert normal(0, RngStream.NOISE, torch.zeros(1, dtype=torch.int64), (2,)).isfinite().all()


def test_the_smallest_word_still_gives_a_finite_normal_number(monkeypatch):
    monkeypatch.setattr(rng, "_words", lambda *_: torch.zeros((1, 4), dtype=torch.int64))
    assert normal(0, RngStream.NOISE, torch.zeros(1, dtype=torch.int64), (4,)).isfinite().all()


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 2, 2)])
def test_normal_numbers_are_standard_normal_and_independent_within_a_sample(shape):
    values = normal(12, RngStream.NOISE, MANY, shape)
    assert values.shape == (len(MANY), *shape)
    assert values.dtype == torch.float32
    flat = values.double().reshape(len(MANY), -1).numpy()
    assert flat.mean() == pytest.approx(0.0, abs=0.03)
    assert flat.std() == pytest.approx(1.0, abs=0.03)
    assert stats.kstest(flat.ravel(), "norm").pvalue > 0.01
    covariance = np.atleast_2d(np.cov(flat, rowvar=False))
    assert covariance == pytest.approx(np.eye(flat.shape[1]), abs=0.04)


@pytest.mark.parametrize("high", [1, 7, 1000])
def test_integers_are_uniform_and_in_range(high):
    values = integers(13, RngStream.TIMESTEP, MANY, high)
    assert values.dtype == torch.int64
    assert values.min() >= 0
    assert values.max() < high
    if high > 1:
        assert stats.chisquare(np.bincount(values.numpy(), minlength=high)).pvalue > 0.01


def test_integers_reach_both_ends_of_the_largest_range(monkeypatch):
    monkeypatch.setattr(rng, "_words", lambda *_: torch.tensor([[0], [MASK]]))
    assert integers(0, RngStream.TIMESTEP, torch.zeros(2, dtype=torch.int64), 2**31).tolist() == [0, 2**31 - 1]


def test_a_million_drawn_at_once_and_one_drawn_alone_agree_beyond_32_bits():
    far = torch.arange(2**32 - 3, 2**32 + 3)
    whole = uniform(1, RngStream.NOISE, far, 5)
    assert len(torch.unique(whole)) == whole.numel()
    for row, position in enumerate(far):
        assert torch.equal(uniform(1, RngStream.NOISE, position[None], 5)[0], whole[row])
