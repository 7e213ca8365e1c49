"""The denoisers that there are, a file each, behind rayograph.models.denoiser.DenoiserNetwork."""
