"""What a first stage gives back of images that it never saw: measured before anything builds on it."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict, cast

from rayograph.config import TrainAutoencoder
from rayograph.ingest.images.held_out import HeldOut
from rayograph.json_types import Json

if TYPE_CHECKING:
    from rayograph.training.learner import Model

AT_ONCE = 16
"""Images through the network at a time: always the same, as batches decide the last digits."""


LOW_PSNR = 20.0
"""Decibels, below which a reconstruction is no likeness."""


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


def headline(facts: Fidelity) -> str:
    """Return what the stage's last line says of it; nothing for a stage without such facts."""
    images = facts.get("held_out_images")
    if images is None:
        return ""
    if not images:
        return "no held-out images to measure it by (held_out_fraction)"
    left_out = (
        f" ({len(facts['held_out_unreadable'])} unreadable, named in the manifest)"
        if facts["held_out_unreadable"]
        else ""
    )
    psnr, ssim = facts["held_out_psnr"], facts["held_out_ssim"]
    similar = f", SSIM {ssim:.3f}" if ssim is not None else ""
    return (
        f"PSNR {'beyond measure' if psnr is None else f'{psnr:.1f} dB'}{similar} on {images} held-out images{left_out}"
    )


def advice(declared: TrainAutoencoder, facts: Fidelity) -> list[str]:
    """Return what to change where reconstructions are poor: no sample can be better than they are."""
    psnr = facts.get("held_out_psnr")
    if psnr is None or psnr >= LOW_PSNR:
        return []
    network = declared.network
    said = (
        f"{psnr:.1f} dB PSNR is below {LOW_PSNR:g}, and no sample will be better than that: more "
        f"total_images ({declared.total_images:,}), another learning_rate ({declared.learning_rate:g}), more "
        f"network.latent_channels ({network.latent_channels}), or a smaller factor "
        f"(f = {network.downsampling_factor})"
    )
    return [said]


def _finite(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None
