"""What was there: LDM-4 that fills holes of photographs of places, 256×256 (Rombach et al. 2022, sec. 4.5, tab. 7, 15).

Data: data/places/**/*.jpg, some 1,800,000 images; holes are drawn anew each time. Published: FID 1.50 of all holes,
LPIPS .137, over images of Places' validation set. Parameters: 387,245,827 behind vq_f4_no_attention of
autoencoder_zoo.py, 53,219,486: it takes the noisy latents, those of the image with its hole, and the hole, 7 channels.
"""

from autoencoder_zoo import OPENIMAGES, VQ_F4_NO_ATTENTION

from rayograph.config import (
    Denoiser,
    DiffusionLoss,
    ImageFolder,
    Job,
    MaskedImage,
    NoiseSchedule,
    Pack,
    TrainDiffusion,
    View,
)

job = Job(
    name="inpainting-places",
    stages={
        "openimages": OPENIMAGES,
        "train_autoencoder": VQ_F4_NO_ATTENTION,
        "pack": Pack(
            source=ImageFolder(uri="data/places"),
            image_size=256,
            resize="shorter_side",
            format="jpeg",
            held_out_fraction=0.02,
        ),
        "train_diffusion": TrainDiffusion(
            images="pack",
            view=View(image_size=256, crop="random", flip_probability=0.5),
            autoencoder="train_autoencoder",
            network=Denoiser(
                block_out_channels=(256, 512, 768, 1024),
                layers_per_block=2,
                attention_levels=(1, 2, 3),
                num_attention_heads=8,
                resample_type="resnet",
            ),
            conditioner=MaskedImage(masks="mixed"),
            noise_schedule=NoiseSchedule(beta_start=0.0015, beta_end=0.0205, prediction_type="epsilon"),
            loss=DiffusionLoss(norm="l1"),
            total_images=360_000 * 128,
            global_batch_size=128,
            learning_rate=1e-6,
            weight_decay=0.01,
            ema_decays=(0.9999,),
        ),
    },
)
