"""What a first stage gives back of images that it never saw: measured before anything builds on it."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict, cast

from rayograph.ingest.images.held_out import HeldOut
from rayograph.json_types import Json

if TYPE_CHECKING:
    from rayograph.training.learner import Model

AT_ONCE = 16
"""Images through the network at a time: always the same, as batches decide the last digits."""


class Fidelity(TypedDict, total=False):
    """Of held-out images: how many, which cannot be read, and what is lost of them, in decibels and as SSIM."""

    held_out_images: int
    held_out_unreadable: list[str]
    held_out_psnr: float | None
    held_out_ssim: float | None


def measured(images: HeldOut, models: Mapping[str, "Model"]) -> dict[str, Json]:
    """Facts for the manifest: PSNR in decibels and SSIM, means over images; None where one cannot be had."""
    from rayograph.evaluation.reconstruction import SSIM_WINDOW, psnr, ssim
    from rayograph.models.autoencoder import AutoencoderNetwork, reconstruct
    from rayograph.models.model_folder import AUTOENCODER
    from rayograph.training.workers import device

    pixels, unreadable = images.pixels()
    facts: dict[str, Json] = {"held_out_images": len(pixels), "held_out_unreadable": unreadable}
    if len(pixels):
        network = cast(AutoencoderNetwork, models[AUTOENCODER])
        made = reconstruct(network.eval().to(device()), pixels, AT_ONCE)
        facts["held_out_psnr"] = _finite(psnr(pixels, made), 3)
        facts["held_out_ssim"] = _finite(ssim(pixels, made), 4) if images.size >= SSIM_WINDOW else None
    return facts


def _finite(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None
