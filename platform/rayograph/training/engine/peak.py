"""What a device can do: the rate of large matrix products, which a training's arithmetic is held against."""

import math
import time

import torch

from rayograph.config import TrainingScale
from rayograph.training.engine.engine import AUTOCAST
from rayograph.training.workers import device

SIDE = {"cuda": 8192, "cpu": 1024}
AT_LEAST_SECONDS = 0.2


def peak_flops(scale: TrainingScale) -> float:
    """Return FLOP/s, 2 a multiply-add: as the profile says, or else measured, in the profile's precision.

    Of the fastest product: whatever else the machine does only makes the others slower.
    """
    if scale.peak_tflops is not None:
        return scale.peak_tflops * 1e12
    place = device()
    side = SIDE[place.type]
    factors = torch.randn(side, side, device=place).to(AUTOCAST.get(scale.precision, torch.float32))
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, torch.backends.cudnn.allow_tf32  # as convolutions do
    torch.mm(factors, factors)
    _wait(place)
    began, fastest = time.perf_counter(), math.inf
    while (started := time.perf_counter()) - began < AT_LEAST_SECONDS or fastest == math.inf:
        torch.mm(factors, factors)
        _wait(place)
        fastest = min(fastest, time.perf_counter() - started)
    matmul.allow_tf32 = before
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats()  # these matrices are not the training's
    return 2 * side**3 / fastest


def _wait(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize()
