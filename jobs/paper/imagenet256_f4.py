"""A thousand classes: LDM-4-G on ImageNet at 256×256, told by attention, guided (Rombach et al. 2022, tab. 3).

Data: data/imagenet/train/<class>/*.JPEG, 1,281,167 images in 1,000 folders. Published, of 250 DDIM steps: FID 10.56, IS
103.49 without guidance; FID 3.60, IS 247.67, precision .87, recall .48 with 1.5. Parameters: 400,920,579, and 512,512
of 1,001 classes, the last of which is none, behind vq_f4 of autoencoder_zoo.py, 55,322,782.
"""

from autoencoder_zoo import OPENIMAGES, VQ_F4

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
    block_out_channels=(192, 384, 576, 960),
    layers_per_block=2,
    attention_levels=(1, 2, 3),
    num_attention_heads=1,
    cross_attention_dim=512,
)

job = Job(
    name="imagenet256-f4",
    stages={
        "openimages": OPENIMAGES,
        "train_autoencoder": VQ_F4,
        "pack": Pack(
            source=ImageFolder(uri="data/imagenet/train", class_per_folder=True), image_size=256, held_out_fraction=0.01
        ),
        "encode": Encode(),
        "train_diffusion": TrainDiffusion(
            network=UNET,
            conditioner=ClassLabel(way="cross_attention"),
            noise_schedule=NoiseSchedule(beta_start=0.0015, beta_end=0.0195, prediction_type="epsilon"),
            condition_drop_probability=0.1,
            total_images=178_000 * 1200,
            global_batch_size=1200,
            learning_rate=1e-4,
            weight_decay=0.01,
            ema_decays=(0.9999,),
        ),
        "sample": Sample(
            num_samples=50_000, sampler=Sampler(scheduler="ddim", num_inference_steps=250, guidance_scale=1.5)
        ),
        "evaluate": Evaluate(),
    },
)
