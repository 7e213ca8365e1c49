"""The first stages that there are, a file each, behind rayograph.models.autoencoder.AutoencoderNetwork."""
