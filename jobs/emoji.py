"""Drawings by their names: OpenMoji (CC BY-SA 4.0), "woman firefighter medium skin tone", at 64 pixels.

200 drawings are held out whose words are all seen in others, together in none; they are asked for, and 200 seen ones
(emoji_captions.jsonl). Needs `pip install 'rayograph[emoji,evaluation]'`; run it from the folder above this one.
It runs to its end, shortened; at this length it is not measured yet: two cores make some 18 images/s of the second
stage in fp32, an hour. `--set scale.training.precision=bf16` is faster where the processor knows it.
"""

from rayograph.config import (
    Autoencoder,
    AutoencoderLoss,
    ConditionDenoiser,
    Discriminator,
    Encode,
    Evaluate,
    Job,
    NoiseSchedule,
    OpenMoji,
    Pack,
    PerceptualNetwork,
    PooledPixels,
    Request,
    Sample,
    Sampler,
    Text,
    TrainAutoencoder,
    TrainDiffusion,
)

TOTAL = 24_000

job = Job(
    name="emoji",
    stages={
        "pack": Pack(source=OpenMoji(size=64), image_size=64, samples_per_shard=256),
        "train_autoencoder": TrainAutoencoder(
            network=Autoencoder(
                latent_channels=4,
                block_out_channels=(32, 64, 64),  # f = 4: 64×64 pixels become 16×16 latents
                layers_per_block=1,
                norm_num_groups=8,
                mid_block_add_attention=False,
            ),
            discriminator=Discriminator(base_channels=16, num_layers=2),
            perceptual=PerceptualNetwork(pretrained="efficientnet_lite0"),
            # Flat colours and lines need no adversary, which takes half as long again.
            loss=AutoencoderLoss(perceptual_weight=0.1, kl_weight=1e-3, discriminator_start_images=TOTAL),
            total_images=TOTAL,
            global_batch_size=32,
            learning_rate=2e-3,  # falls over the whole length: colours come late
            learning_rate_schedule="cosine",
            warmup_images=640,
            betas=(0.9, 0.99),
            gradient_clipping=12_288.0,  # losses are sums over an image: 1 for each of 64×64×3 values
            ema_decays=(0.99,),
            checkpoint_every_images=3_200,
        ),
        "encode": Encode(),
        "train_diffusion": TrainDiffusion(
            network=ConditionDenoiser(
                block_out_channels=(64, 128, 192),
                layers_per_block=1,
                attention_levels=(1, 2),
                num_attention_heads=4,
                cross_attention_dim=128,
                norm_num_groups=16,
            ),
            conditioner=Text(num_layers=3, width=128, num_attention_heads=4, attention_head_dim=32, feed_forward=512),
            noise_schedule=NoiseSchedule(beta_start=0.0015, beta_end=0.0195, prediction_type="v_prediction"),
            condition_drop_probability=0.1,
            total_images=72_000,
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
            request=Request(uri="jobs/emoji_captions.jsonl", keep=("hexcode",)),
            sampler=Sampler(num_inference_steps=25, guidance_scale=2.0),
        ),
        "evaluate": Evaluate(features=PooledPixels(size=16, grey=False), asked_key="hexcode"),
    },
)
