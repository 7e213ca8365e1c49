"""What is to stand in which box: LDM-4 on COCO at 256×256 (Rombach et al. 2022, tab. 9, 15).

Data: data/coco/*.jpg, and data/coco/metadata.jsonl with a row an image: file_name, and boxes, a list of
{"bbox": [x, y, width, height] in pixels, "category": a number from 0 to 182}. Published: FID 40.91 (of a model for
OpenImages 32.02). Parameters: 246,277,379, and 58,858,496 of the transformer over 92 tokens, behind vq_f4 of
autoencoder_zoo.py, 55,322,782.
"""

from autoencoder_zoo import OPENIMAGES, VQ_F4

from rayograph.config import (
    Columns,
    ConditionDenoiser,
    DiffusionLoss,
    ImageFolder,
    Job,
    Layout,
    NoiseSchedule,
    Pack,
    TrainDiffusion,
)

job = Job(
    name="layout-coco",
    stages={
        "openimages": OPENIMAGES,
        "train_autoencoder": VQ_F4,
        "pack": Pack(
            source=ImageFolder(uri="data/coco", metadata="metadata.jsonl", columns=Columns(boxes="boxes")),
            image_size=256,
            held_out_fraction=0.04,
        ),
        "train_diffusion": TrainDiffusion(
            images="pack",
            autoencoder="train_autoencoder",
            network=ConditionDenoiser(
                block_out_channels=(128, 256, 384, 512),
                layers_per_block=2,
                attention_levels=(1, 2, 3),
                attention_head_dim=32,
                transformer_layers_per_block=3,
                cross_attention_dim=512,
            ),
            conditioner=Layout(labels=183, most_objects=30, num_layers=16, width=512, output_projection=True),
            noise_schedule=NoiseSchedule(beta_start=0.0015, beta_end=0.0205, prediction_type="epsilon"),
            loss=DiffusionLoss(norm="l1"),
            total_images=4_400_000 * 24,
            global_batch_size=24,
            learning_rate=4.8e-5,
            weight_decay=0.01,
            ema_decays=(0.9999,),
        ),
    },
)
