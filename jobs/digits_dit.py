"""Handwritten digits by a transformer: the pipeline of digits.py with a small DiT (Peebles & Xie 2023) as denoiser."""

from rayograph.config import (
    Autoencoder,
    AutoencoderLoss,
    Discriminator,
    DiT,
    Encode,
    Evaluate,
    Job,
    NoiseSchedule,
    Pack,
    PerceptualNetwork,
    Sample,
    Sampler,
    SklearnDigits,
    TrainAutoencoder,
    TrainDiffusion,
)

job = Job(
    name="digits-dit",
    stages={
        "pack": Pack(source=SklearnDigits(), image_size=32, held_out_fraction=0.2, samples_per_shard=128),
        "train_autoencoder": TrainAutoencoder(
            network=Autoencoder(
                latent_channels=3,
                block_out_channels=(16, 16, 32),  # f = 4: 32×32 pixels become 8×8 latents
                layers_per_block=1,
                norm_num_groups=8,
                mid_block_add_attention=False,
            ),
            discriminator=Discriminator(base_channels=16, num_layers=2),
            perceptual=PerceptualNetwork(channels=(8, 16, 32)),
            loss=AutoencoderLoss(
                perceptual_weight=0.1, kl_weight=1e-3, discriminator_weight=0.5, discriminator_start_images=4_800
            ),
            total_images=16_000,
            global_batch_size=64,
            learning_rate=4e-3,
            learning_rate_schedule="cosine",
            discriminator_learning_rate=2e-3,
            warmup_images=1_280,
            betas=(0.9, 0.99),
            gradient_clipping=1000.0,  # losses are sums over an image: usual norms are in the hundreds
            ema_decays=(0.95,),
            checkpoint_every_images=6_400,
        ),
        "encode": Encode(),
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
        "sample": Sample(
            num_samples=1000,
            # Guidance draws samples of a class together. In few steps this spacing ends a little too wide, 4 to 5 % on
            # Gaussians, and gives back a part: of the spacings it reaches most of the real variety, and as fast.
            sampler=Sampler(num_inference_steps=15, guidance_scale=1.4, spacing="karras"),
        ),
        "evaluate": Evaluate(),
    },
)
