"""Churches without a condition: LDM-8 on LSUN at 256×256 (Rombach et al. 2022, tab. 1, 12).

Data: data/lsun/churches/**/*.jpg, some 126,000 images. Published: FID 4.02, precision .64, recall .52, of 200 DDIM
steps without noise (100 or 400 on other pages of the paper). Parameters: 294,966,916 behind kl_f8 of
autoencoder_zoo.py, 83,653,863.
"""

from autoencoder_zoo import KL_F8, OPENIMAGES

from rayograph.config import (
    Denoiser,
    DiffusionLoss,
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

UNET = Denoiser(
    block_out_channels=(192, 384, 384, 768, 768),
    layers_per_block=2,
    attention_levels=(0, 1, 2, 3),
    num_attention_heads=8,
    resample_type="resnet",
    resnet_time_scale_shift="scale_shift",
)

job = Job(
    name="lsun-churches256",
    stages={
        "openimages": OPENIMAGES,
        "train_autoencoder": KL_F8,
        "pack": Pack(source=ImageFolder(uri="data/lsun/churches"), image_size=256, held_out_fraction=0.05),
        "encode": Encode(),
        "train_diffusion": TrainDiffusion(
            network=UNET,
            noise_schedule=NoiseSchedule(beta_start=0.0015, beta_end=0.0155, prediction_type="epsilon"),
            loss=DiffusionLoss(norm="l1"),
            total_images=500_000 * 96,
            global_batch_size=96,
            learning_rate=5e-5,
            warmup_images=10_000 * 96,
            weight_decay=0.01,
            ema_decays=(0.9999,),
        ),
        "sample": Sample(num_samples=50_000, sampler=Sampler(scheduler="ddim", num_inference_steps=200)),
        "evaluate": Evaluate(),
    },
)
