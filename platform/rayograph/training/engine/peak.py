"""What a device can do: the rate of large matrix products, which a training's arithmetic is held against."""

import time

import torch

from rayograph.config import TrainingScale
from rayograph.training.engine.engine import AUTOCAST
from rayograph.training.workers import device

SIDE = {"cuda": 8192, "cpu": 1024}
AT_LEAST_SECONDS = 0.2


def peak_flops(scale: TrainingScale) -> float:
    """FLOP/s, 2 a multiply-add: as the profile says, or else measured, in the profile's precision."""
    if scale.peak_tflops is not None:
        return scale.peak_tflops * 1e12
    place = device()
    side = SIDE[place.type]
    factors = torch.randn(side, side, device=place).to(AUTOCAST.get(scale.precision, torch.float32))
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, torch.backends.cudnn.allow_tf32  # as convolutions do
    torch.mm(factors, factors)
    _wait(place)
    began, products = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < AT_LEAST_SECONDS or not products:
        torch.mm(factors, factors)
        _wait(place)
        products += 1
    matmul.allow_tf32 = before
    if place.type == "cuda":
        torch.cuda.reset_peak_memory_stats()  # these matrices are not the training's
    return products * 2 * side**3 / elapsed


def _wait(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize()
