"""Latent diffusion on a Ray cluster, without losing a sample, a step or an image."""

__version__ = "0.1.0"
