"""What a first stage's figures on held-out images (trainer/fidelity.py) come to, in words."""

from collections.abc import Mapping
from typing import Any

from rayograph.config import TrainAutoencoder

LOW_PSNR = 20.0
"""Decibels, below which a reconstruction is no likeness."""


def headline(facts: Mapping[str, Any]) -> str:
    """What the stage's last line says of it; nothing for a stage without such facts."""
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


def advice(declared: TrainAutoencoder, facts: Mapping[str, Any]) -> list[str]:
    """What to change where reconstructions are poor: no sample can be better than they are."""
    psnr = facts.get("held_out_psnr")
    if psnr is None or psnr >= LOW_PSNR:
        return []
    network = declared.network
    said = (
        f"{psnr:.1f} dB PSNR is below {LOW_PSNR:g}, and no sample will be better than that: more "
        f"total_images ({declared.total_images:,}), another learning_rate ({declared.learning_rate:g}), more "
        f"network.latent_channels ({network.latent_channels}), or fewer network.block_out_channels "
        f"(f = {network.downsampling_factor})"
    )
    return [said]
