"""What goes beside an exported model's weights, so that diffusers opens it without rayograph: two files are copied as
they are, latent_diffusion.py as `pipeline.py` and class_embedding.py into `conditioner/`."""
