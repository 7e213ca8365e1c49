"""What random numbers are drawn for. Without torch, so that whatever only names a stream stays quick to import."""

from enum import IntEnum


class RngStream(IntEnum):
    """What a draw is for. Two streams of one seed are independent; a number, once used, keeps its meaning."""

    POSTERIOR = 1
    NOISE = 2
    TIMESTEP = 3
    CONDITION_DROP = 4
    SAMPLE_NOISE = 5
    ENCODE = 6
    SAMPLER_STEP = 7
    VIEW = 8
    CAPTION = 9
    DEGRADATION = 10
    MASK = 11
