"""A worker's batch: its rows stay together, and it knows its positions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayograph.errors import DataError
from rayograph.shards.batch import Batch


def batch(rows):
    positions = np.arange(100, 100 + rows)
    return Batch(positions, {"classes": positions % 10, "pixels": np.stack([positions] * 2, axis=1)})


@given(rows=st.integers(1, 50), size=st.integers(1, 60))
def test_micro_batches_in_order_are_the_batch(rows, size):
    whole = batch(rows)
    parts = whole.split(size)
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert np.array_equal(np.concatenate([part.positions for part in parts]), whole.positions)
    for name, column in whole.columns.items():
        assert np.array_equal(np.concatenate([part.columns[name] for part in parts]), column)


@pytest.mark.parametrize(
    "expected", [np.arange(101, 109), np.arange(100, 107), np.array([101, 100, 102, 103, 104, 105, 106, 107])]
)
def test_rows_that_are_not_the_planned_ones_are_refused(expected):
    with pytest.raises(DataError, match="input stream: expected positions"):
        batch(8).require_positions(expected)


def test_planned_rows_are_accepted():
    batch(8).require_positions(np.arange(100, 108))
