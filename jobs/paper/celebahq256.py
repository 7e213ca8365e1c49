"""Faces without a condition: LDM-4 on CelebA-HQ at 256×256 (Rombach et al. 2022, tab. 1, 12).

Data: data/celebahq/*.png, the 30,000 images; 5,000 are held out. Published: FID 5.11, precision .72, recall .49, of
500 DDIM steps without noise. Parameters: 274,056,163 behind a first stage of 55,322,782 (vq_f4 of autoencoder_zoo.py;
one that is there already is named by `--set encode.autoencoder=URI train_diffusion.autoencoder=URI`). What it costs on
your machines, `rayograph doctor` says. Distances here are taken in another feature space than the paper's.
"""

from autoencoder_zoo import OPENIMAGES, VQ_F4

from rayograph.config import (
    Denoiser,
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
    block_out_channels=(224, 448, 672, 896), layers_per_block=2, attention_levels=(1, 2, 3), attention_head_dim=32
)
SCHEDULE = NoiseSchedule(beta_start=0.0015, beta_end=0.0195, prediction_type="epsilon")

job = Job(
    name="celebahq256",
    stages={
        "openimages": OPENIMAGES,
        "train_autoencoder": VQ_F4,
        "pack": Pack(source=ImageFolder(uri="data/celebahq"), image_size=256, held_out_fraction=1 / 6),
        "encode": Encode(),
        "train_diffusion": TrainDiffusion(
            network=UNET,
            noise_schedule=SCHEDULE,
            total_images=410_000 * 48,
            global_batch_size=48,
            learning_rate=9.6e-5,
            weight_decay=0.01,
            ema_decays=(0.9999,),
        ),
        "sample": Sample(num_samples=50_000, sampler=Sampler(scheduler="ddim", num_inference_steps=500)),
        "evaluate": Evaluate(),
    },
)
