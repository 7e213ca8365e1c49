"""Sampling: the denoising loop, its noise, and the units that a job is cut into."""
