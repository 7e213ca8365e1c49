"""Images made worse, as cameras and senders do it: blur, fewer pixels, noise, JPEG.

Shapes: h w pixels, s side of a square.
"""

import numpy as np
from PIL import Image, ImageFilter

from rayograph.config.job.conditions.spatial import LowResolution
from rayograph.shards.pixels.decode import render, resample, to_jpeg
from rayograph.shards.pixels.frames import Frame


def made_smaller(pixels: np.ndarray, factor: int) -> np.ndarray:
    """(h / factor, w / factor, 3) of (h, w, 3) uint8: bicubic, with antialiasing."""
    height, width = pixels.shape[:2]
    return resample(pixels, Frame(0, 0, width, height, (max(1, width // factor), max(1, height // factor))))


def degraded(pixels: np.ndarray, declared: LowResolution, rng: np.random.Generator) -> np.ndarray:
    """The same, blurred before and noisy after, and in every second case a JPEG's, as strongly as `rng` draws."""
    blur, noise, quality, jpeg = rng.random(4).tolist()
    soft = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(declared.most_blur * blur))
    small = made_smaller(np.asarray(soft), declared.factor)
    grain = rng.standard_normal(small.shape) * (255 * declared.most_noise * noise)
    small = (small + grain).round().clip(0, 255).astype(np.uint8)
    if jpeg < 0.5:
        return small
    worst = declared.lowest_jpeg_quality
    return render(to_jpeg(small, round(worst + (95 - worst) * quality) if worst < 95 else worst), "JPEG")
