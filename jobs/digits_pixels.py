"""Handwritten digits without a first stage: diffusion on pixels (the paper's LDM-1)."""

from rayograph.config import (
    Denoiser,
    Evaluate,
    Job,
    NoiseSchedule,
    Pack,
    Sample,
    Sampler,
    SklearnDigits,
    TrainDiffusion,
)

job = Job(
    name="digits-pixels",
    stages={
        "pack": Pack(source=SklearnDigits(), image_size=16, held_out_fraction=0.2, samples_per_shard=128),
        "train_diffusion": TrainDiffusion(
            images="pack",
            network=Denoiser(
                num_classes=10,
                block_out_channels=(32, 64, 64),
                layers_per_block=1,
                norm_num_groups=16,
                mid_block_attention=False,
            ),
            noise_schedule=NoiseSchedule(beta_start=0.0015, beta_end=0.0195, prediction_type="v_prediction"),
            total_images=51_200,
            global_batch_size=64,
            learning_rate=2e-3,
            learning_rate_schedule="cosine",
            warmup_images=3_200,
            betas=(0.9, 0.99),
            weight_decay=0.01,
            gradient_clipping=1.0,
            ema_decays=(0.995,),
            checkpoint_every_images=12_800,
        ),
        "sample": Sample(num_samples=1000, sampler=Sampler(num_inference_steps=15, guidance_scale=1.4)),
        "evaluate": Evaluate(autoencoder=None),
    },
)
