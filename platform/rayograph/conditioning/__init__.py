"""Conditioners: what a sample's members or a request's columns become for the denoiser. One file a kind."""
