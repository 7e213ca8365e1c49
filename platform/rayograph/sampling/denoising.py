"""A few samples on their way from noise to images, to look at.

Shapes: s steps, n samples, h w pixels.
"""

import numpy as np
import torch
from jaxtyping import UInt8

from rayograph.config import Sample
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import Manifest
from rayograph.sampling.pipeline import DiffusionModel

SHOWN_STEPS = 8
MOST_SAMPLES = 10


def denoising_steps(model: Artifact, drawn: Manifest, device: str) -> UInt8[np.ndarray, "s n h w 3"]:
    """Draw the first samples of a committed Sample stage again: as they are at s - 1 steps, and done."""
    declared = Sample.model_validate(drawn.declared)
    loaded = DiffusionModel.load(model, device)
    steps = declared.sampler.num_inference_steps
    kept = sorted({round(step) for step in np.linspace(0, steps - 1, SHOWN_STEPS)})
    numbers = torch.arange(min(loaded.conditioner.conditioner.distinct_examples or 4, MOST_SAMPLES))
    pixels, under_way = loaded.draw(drawn.seed, numbers, loaded.examples(numbers), declared.sampler, kept)
    return torch.stack([*under_way, pixels]).numpy()
