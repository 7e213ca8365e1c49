"""What is to stand where: LDM-4 on landscapes with semantic maps at 256×256 (Rombach et al. 2022, sec. 4.3.2, tab. 15).

Data: tars data/landscapes/*.tar of 0001.jpg and 0001.map.png, whose grey values are labels from 0 to 181. Published:
pictures alone, and that it draws at 512×1024 too. Parameters: 215,229,315, and 546 of the projection of 182 labels to
three channels, behind vq_f4 of autoencoder_zoo.py, 55,322,782. Only the middle of the U-Net attends.
"""

from autoencoder_zoo import OPENIMAGES, VQ_F4

from rayograph.config import (
    Denoiser,
    DiffusionLoss,
    Job,
    NoiseSchedule,
    Pack,
    SemanticMap,
    TrainDiffusion,
    View,
    WebDatasetShards,
)

job = Job(
    name="semantic-landscapes",
    stages={
        "openimages": OPENIMAGES,
        "train_autoencoder": VQ_F4,
        "pack": Pack(source=WebDatasetShards(uri="data/landscapes"), image_size=384, resize="shorter_side"),
        "train_diffusion": TrainDiffusion(
            images="pack",
            view=View(image_size=256, crop="random", flip_probability=0.5),
            autoencoder="train_autoencoder",
            network=Denoiser(block_out_channels=(128, 512, 1024), layers_per_block=2, num_attention_heads=8),
            conditioner=SemanticMap(num_labels=182, halvings=2, channels=3),
            noise_schedule=NoiseSchedule(beta_start=0.0015, beta_end=0.0205, prediction_type="epsilon"),
            loss=DiffusionLoss(norm="l1"),
            total_images=360_000 * 48,
            global_batch_size=48,
            learning_rate=4.8e-5,
            weight_decay=0.01,
            ema_decays=(0.9999,),
        ),
    },
)
