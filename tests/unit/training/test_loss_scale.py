"""Loss scaling for fp16."""

import pytest
import torch

from rayograph.errors import DivergenceError
from rayograph.training.engine.loss_scale import FIRST, LEAST, PATIENCE, LossScale


def test_it_halves_with_every_overflow_and_doubles_after_long_quiet() -> None:
    scale = LossScale()
    assert not scale.unscale(torch.tensor([1.0, torch.inf]))
    assert scale.value == FIRST / 2
    gradients = torch.tensor([FIRST])
    assert scale.unscale(gradients)
    assert gradients.tolist() == [2.0]
    for _ in range(PATIENCE - 1):
        scale.unscale(torch.zeros(1))
    assert scale.value == FIRST


def test_it_says_so_once_no_scale_is_small_enough() -> None:
    scale = LossScale()
    while scale.value > LEAST:
        assert not scale.unscale(torch.tensor([torch.nan]))
    with pytest.raises(DivergenceError, match="gradients overflow fp16 at every loss scale"):
        scale.unscale(torch.tensor([torch.nan]))
