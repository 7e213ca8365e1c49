"""Squares of one colour, by the conditioner of vectors.py: what colour a picture is of stands in its row of a table."""

from vectors import Vector

from rayograph.config import (
    Autoencoder,
    AutoencoderLoss,
    Denoiser,
    Discriminator,
    Encode,
    ImageFolder,
    Job,
    Pack,
    Request,
    Sample,
    Sampler,
    TrainAutoencoder,
    TrainDiffusion,
)

job = Job(
    name="tinted",
    stages={
        "pack": Pack(source=ImageFolder(uri="pictures", metadata="metadata.jsonl"), image_size=8, held_out_fraction=0),
        "train_autoencoder": TrainAutoencoder(
            network=Autoencoder(block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=8),
            discriminator=Discriminator(base_channels=8, num_layers=1),
            loss=AutoencoderLoss(kl_weight=1e-3, discriminator_weight=0.0),
            total_images=12_800,
            global_batch_size=64,
            learning_rate=4e-3,
            gradient_clipping=1000.0,
        ),
        "encode": Encode(),
        "train_diffusion": TrainDiffusion(
            network=Denoiser(
                block_out_channels=(16, 16), layers_per_block=1, norm_num_groups=8, mid_block_attention=False
            ),
            conditioner=Vector(field="tint", size=3),
            total_images=25_600,
            global_batch_size=64,
            learning_rate=2e-3,
        ),
        "sample": Sample(request=Request(uri="wanted.jsonl"), sampler=Sampler(guidance_scale=3.0)),
    },
)
