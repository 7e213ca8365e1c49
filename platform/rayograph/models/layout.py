"""What the parts of a model folder are called, in diffusers' own words, for whoever looks without loading it."""

AUTOENCODER, DENOISER, SCHEDULE = "model/vae", "model/unet", "model/scheduler"
CONDITIONER = "model/conditioner"
"""Folders of a pipeline's parts in an artifact; the conditioner's is ours."""

CONFIG, SCHEDULER_CONFIG = "config.json", "scheduler_config.json"
