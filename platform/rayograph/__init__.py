"""Latent diffusion on a Ray cluster, from packed images to generated ones, without losing a sample, a step or an image."""

__version__ = "0.1.0"
