"""Weights by the names of the latent diffusion paper's published checkpoints, told in diffusers' names and shapes."""
