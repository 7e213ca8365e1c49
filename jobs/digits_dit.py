"""Handwritten digits by a transformer: digits.py, with a small DiT (Peebles & Xie 2023) as denoiser."""

from digits import job as digits

from rayograph.config import DiT, Job, NoiseSchedule, TrainDiffusion

job = Job(
    name="digits-dit",
    stages=digits.stages
    | {
        "train_diffusion": TrainDiffusion(
            network=DiT(num_classes=10, num_layers=6, num_attention_heads=4, attention_head_dim=32),
            noise_schedule=NoiseSchedule(beta_start=0.0015, beta_end=0.0195, prediction_type="v_prediction"),
            condition_drop_probability=0.1,
            total_images=51_200,
            global_batch_size=64,
            learning_rate=1e-3,
            learning_rate_schedule="cosine",
            warmup_images=3_200,
            betas=(0.9, 0.99),
            weight_decay=0.01,
            gradient_clipping=1.0,
            ema_decays=(0.995,),
            checkpoint_every_images=12_800,
        ),
    },
)
