"""Pixels to what a network looks at: one size, one range of values, a few at a time.

Shapes: b images, h w pixels, r the network's side.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

InputRange = Literal["0..255", "0..1", "-1..1", "imagenet"]

IMAGES_AT_ONCE = 16
"""Through a network: bounds memory, and is always the same, as batches decide the last digits."""

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def resized(pixels: UInt8[Tensor, "b h w 3"], side: int) -> Float[Tensor, "b 3 r r"]:
    """Scale to side×side, in 0 … 255, unrounded: bicubically, and without aliasing (Parmar et al. 2022)."""
    images = pixels.permute(0, 3, 1, 2).float()
    if images.shape[2:] == (side, side):
        return images
    return interpolate(images, size=(side, side), mode="bicubic", antialias=True).clamp(0.0, 255.0)


def in_range(images: Float[Tensor, "b 3 r r"], wanted: InputRange) -> Float[Tensor, "b 3 r r"]:
    """Images in 0 … 255 as a network wants them."""
    match wanted:
        case "0..255":
            return images
        case "0..1":
            return images / 255.0
        case "-1..1":
            return images / 127.5 - 1.0
        case "imagenet":
            mean, std = (images.new_tensor(of).reshape(1, 3, 1, 1) for of in (_IMAGENET_MEAN, _IMAGENET_STD))
            return (images / 255.0 - mean) / std


def means_over_places(features: Float[Tensor, "b d"] | Float[Tensor, "b d y x"]) -> Float[Tensor, "b d"]:
    """One vector an image."""
    return features if features.ndim == 2 else torch.mean(features, dim=(2, 3))


def in_batches(
    network: Callable[[UInt8[Tensor, "n h w 3"]], Float[Tensor, "n d"]], pixels: UInt8[Tensor, "b h w 3"]
) -> Float[Tensor, "b d"]:
    """All images' features, on the CPU."""
    return torch.cat([network(part).cpu() for part in pixels.split(IMAGES_AT_ONCE)])
