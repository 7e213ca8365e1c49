"""The paper's first stages (Rombach et al. 2022, tab. 8): trained on OpenImages, for the other recipes of this folder.

| | f | regulariser | latent channels | parameters | rFID | PSNR |
|---|---|---|---|---|---|---|
| kl_f4 | 4 | KL | 3 | 55,312,063 | 0.27 | 27.53 |
| kl_f8 | 8 | KL | 4 | 83,653,863 | 0.90 | 24.19 |
| kl_f16 | 16 | KL | 16 | 69,610,963 | 0.87 | 24.08 |
| kl_f32 | 32 | KL | 64 | 103,880,131 | 2.04 | 22.27 |
| vq_f4 | 4 | 8,192 codes | 3 | 55,322,782 | 0.58 | 27.43 |
| vq_f4_no_attention | 4 | 8,192 codes | 3 | 53,219,486 | 1.06 | 25.21 |
| vq_f8 | 8 | 16,384 codes | 4 | 67,717,295 | 1.14 | 23.07 |
| vq_f8_256 | 8 | 256 codes | 4 | 67,652,783 | 1.49 | 22.35 |
| vq_f16 | 16 | 16,384 codes | 8 | 69,593,371 | 5.15 | 20.83 |

Data: data/openimages/**/*.jpg, in any folders; 256×256 squares of images whose shorter side is 384. Figures are the
paper's, on ImageNet's validation images. How long they were trained is not published: here it is 500,000 steps of 24
images. The paper's perceptual loss is LPIPS: name the weights as `perceptual.weights_uri`.
"""

from rayograph.config import Autoencoder, AutoencoderLoss, Discriminator, ImageFolder, Job, Pack, TrainAutoencoder, View

BATCH = 24
KL_START, VQ_LATE_START = 50_001 * BATCH, 250_001 * BATCH  # of the discriminator, in images

OPENIMAGES = Pack(
    source=ImageFolder(uri="data/openimages"),
    image_size=384,
    resize="shorter_side",
    format="jpeg",
    minimum_size=256,
    held_out_fraction=0.005,
)


def first_stage(
    network: Autoencoder, discriminator_weight: float, start_images: int, discriminator_layers: int = 3
) -> TrainAutoencoder:
    """The training that they have in common."""
    return TrainAutoencoder(
        images="openimages",
        view=View(image_size=256, crop="random", flip_probability=0.5),
        network=network,
        discriminator=Discriminator(base_channels=64, num_layers=discriminator_layers),
        loss=AutoencoderLoss(
            kl_weight=1e-6, codebook_weight=1.0, discriminator_weight=discriminator_weight,
            discriminator_start_images=start_images,
        ),
        total_images=500_000 * BATCH,
        global_batch_size=BATCH,
        learning_rate=4.5e-6 * BATCH,
        betas=(0.5, 0.9),
        ema_decays=(0.999,),
    )  # fmt: skip


F4, F8_KL, F8_VQ = (128, 256, 512), (128, 256, 512, 512), (128, 256, 256, 512)
F16, F32 = (128, 128, 256, 256, 512), (128, 128, 256, 256, 512, 512)

KL_F4 = first_stage(Autoencoder(block_out_channels=F4, latent_channels=3), 0.5, KL_START)
KL_F8 = first_stage(Autoencoder(block_out_channels=F8_KL, latent_channels=4), 0.5, KL_START)
KL_F16 = first_stage(Autoencoder(block_out_channels=F16, latent_channels=16, attention_levels=(4,)), 0.5, KL_START)
KL_F32 = first_stage(Autoencoder(block_out_channels=F32, latent_channels=64, attention_levels=(4, 5)), 0.5, KL_START)
VQ_F4 = first_stage(Autoencoder(block_out_channels=F4, latent_channels=3, codebook_size=8192), 0.75, 0)
VQ_F4_NO_ATTENTION = first_stage(
    Autoencoder(block_out_channels=F4, latent_channels=3, codebook_size=8192, mid_block_add_attention=False), 0.75, 0
)
VQ_F8 = first_stage(
    Autoencoder(block_out_channels=F8_VQ, latent_channels=4, codebook_size=16_384, attention_levels=(3,)), 0.6, 0, 2
)
VQ_F8_256 = first_stage(
    Autoencoder(block_out_channels=F8_VQ, latent_channels=4, codebook_size=256, attention_levels=(3,)),
    0.75, VQ_LATE_START, 2,
)  # fmt: skip
VQ_F16 = first_stage(
    Autoencoder(block_out_channels=F16, latent_channels=8, codebook_size=16_384, attention_levels=(4,)),
    0.75, VQ_LATE_START, 2,
)  # fmt: skip

job = Job(
    name="autoencoder-zoo",
    stages={
        "openimages": OPENIMAGES,
        "kl_f4": KL_F4,
        "kl_f8": KL_F8,
        "kl_f16": KL_F16,
        "kl_f32": KL_F32,
        "vq_f4": VQ_F4,
        "vq_f4_no_attention": VQ_F4_NO_ATTENTION,
        "vq_f8": VQ_F8,
        "vq_f8_256": VQ_F8_256,
        "vq_f16": VQ_F16,
    },
)
