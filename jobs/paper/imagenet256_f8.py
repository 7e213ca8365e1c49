"""A thousand classes: LDM-8 on ImageNet at 256×256, told by attention (Rombach et al. 2022, app. E.1, tab. 13).

Data: data/imagenet/train/<class>/*.JPEG, 1,281,167 images in 1,000 folders. Published: FID 15.51, IS 79.03, precision
.65, recall .63, of 200 DDIM steps with noise (η = 1); after 2,900,000 steps of training FID 17.41, IS 72.92.
Parameters: 394,984,196, and 512 a class, behind vq_f8 of autoencoder_zoo.py, 67,717,295. Here there is a class more, of
none, for guidance.
"""

from autoencoder_zoo import OPENIMAGES, VQ_F8

from rayograph.config import (
    ClassLabel,
    ConditionDenoiser,
    Encode,
    Evaluate,
    ImageFolder,
    Job,
    NoiseSchedule,
    Pack,
    Sample,
    Sampler,
    TrainDiffusion,
)

UNET = ConditionDenoiser(
    block_out_channels=(256, 512, 1024),
    layers_per_block=2,
    attention_levels=(0, 1, 2),
    attention_head_dim=32,
    cross_attention_dim=512,
)

job = Job(
    name="imagenet256-f8",
    stages={
        "openimages": OPENIMAGES,
        "train_autoencoder": VQ_F8,
        "pack": Pack(
            source=ImageFolder(uri="data/imagenet/train", class_per_folder=True), image_size=256, held_out_fraction=0.01
        ),
        "encode": Encode(),
        "train_diffusion": TrainDiffusion(
            network=UNET,
            conditioner=ClassLabel(way="cross_attention"),
            noise_schedule=NoiseSchedule(beta_start=0.0015, beta_end=0.0195, prediction_type="epsilon"),
            total_images=4_800_000 * 64,
            global_batch_size=64,
            learning_rate=6.4e-5,
            weight_decay=0.01,
            ema_decays=(0.9999,),
        ),
        "sample": Sample(
            num_samples=50_000, sampler=Sampler(scheduler="ddim", num_inference_steps=200, eta=1.0, guidance_scale=1.0)
        ),
        "evaluate": Evaluate(),
    },
)
