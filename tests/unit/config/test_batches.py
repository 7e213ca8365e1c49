"""The arithmetic of batches: workers × micro-batch × accumulation is the global batch, or an error says why not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayograph.config import Autoencoder, TrainAutoencoder, TrainingScale
from rayograph.config.batches import micro_batch_and_accumulation
from rayograph.errors import ConfigError


def recipe(batch, lanes):
    return TrainAutoencoder(network=Autoencoder(), total_images=1000, global_batch_size=batch, lanes=lanes)


@given(workers=st.integers(1, 8), micro=st.integers(1, 64), accumulation=st.integers(1, 8))
def test_whatever_comes_out_even_makes_up_the_global_batch(workers, micro, accumulation):
    batch = workers * micro * accumulation
    found = micro_batch_and_accumulation(recipe(batch, workers), TrainingScale(micro_batch_size=micro), workers)
    assert found == (micro, accumulation)


@given(workers=st.sampled_from([1, 2, 4, 8]), micro=st.integers(65, 1000))
def test_a_micro_batch_larger_than_a_workers_share_is_cut_to_it(workers, micro):
    found = micro_batch_and_accumulation(recipe(64, 8), TrainingScale(micro_batch_size=micro), workers)
    assert found == (64 // workers, 1)


@pytest.mark.parametrize("workers", [3, 16])
def test_a_number_of_workers_that_does_not_divide_the_lanes_is_refused_by_field(workers):
    with pytest.raises(ConfigError, match=f"training.workers: expected a divisor of 8 lanes, got {workers}"):
        micro_batch_and_accumulation(recipe(64, 8), TrainingScale(), workers)


def test_a_micro_batch_that_does_not_divide_the_share_is_refused_by_field():
    with pytest.raises(ConfigError, match=r"training.micro_batch_size: expected a divisor of 32 .*, got 24"):
        micro_batch_and_accumulation(recipe(64, 8), TrainingScale(micro_batch_size=24), 2)
