"""Faces without a condition: LDM-4 on FFHQ at 256×256 (Rombach et al. 2022, tab. 1, 12).

Data: data/ffhq/**/*.png, the 70,000 images; 10,000 are held out. Published: FID 4.98, precision .73, recall .50, of 200
DDIM steps with noise (η = 1). Parameters: 274,056,163, those of celebahq256.py, behind vq_f4 of autoencoder_zoo.py.
"""

from autoencoder_zoo import OPENIMAGES, VQ_F4
from celebahq256 import SCHEDULE, UNET

from rayograph.config import Encode, Evaluate, ImageFolder, Job, Pack, Sample, Sampler, TrainDiffusion

job = Job(
    name="ffhq256",
    stages={
        "openimages": OPENIMAGES,
        "train_autoencoder": VQ_F4,
        "pack": Pack(source=ImageFolder(uri="data/ffhq"), image_size=256, held_out_fraction=1 / 7),
        "encode": Encode(),
        "train_diffusion": TrainDiffusion(
            network=UNET,
            noise_schedule=SCHEDULE,
            total_images=635_000 * 42,
            global_batch_size=42,
            lanes=14,
            learning_rate=8.4e-5,
            weight_decay=0.01,
            ema_decays=(0.9999,),
        ),
        "sample": Sample(num_samples=50_000, sampler=Sampler(scheduler="ddim", num_inference_steps=200, eta=1.0)),
        "evaluate": Evaluate(),
    },
)
