"""From 64×64 to 256×256: LDM-4 on ImageNet (Rombach et al. 2022, sec. 4.4, tab. 5, 15).

Data: data/imagenet/train/<class>/*.JPEG, 1,281,167 images, each made smaller bicubically. Published, of 100 DDIM steps:
FID 2.8 of validation images, IS 166.3, PSNR 24.4, SSIM .69. Parameters: 113,622,563 (the paper says 169M) behind vq_f4
of autoencoder_zoo.py, 55,322,782: it takes the noisy latents and the small image, 6 channels.
"""

from autoencoder_zoo import OPENIMAGES, VQ_F4

from rayograph.config import Denoiser, ImageFolder, Job, LowResolution, NoiseSchedule, Pack, TrainDiffusion, View

job = Job(
    name="superresolution-imagenet",
    stages={
        "openimages": OPENIMAGES,
        "train_autoencoder": VQ_F4,
        "pack": Pack(
            source=ImageFolder(uri="data/imagenet/train", class_per_folder=True),
            image_size=256,
            resize="shorter_side",
            held_out_fraction=0.01,
        ),
        "train_diffusion": TrainDiffusion(
            images="pack",
            view=View(image_size=256, crop="random", smallest_crop=0.5),
            autoencoder="train_autoencoder",
            network=Denoiser(
                block_out_channels=(160, 320, 320, 640),
                layers_per_block=2,
                attention_levels=(3,),
                attention_head_dim=32,
            ),
            conditioner=LowResolution(factor=4, degradation="bicubic"),
            noise_schedule=NoiseSchedule(beta_start=0.0015, beta_end=0.0155, prediction_type="epsilon"),
            total_images=860_000 * 64,
            global_batch_size=64,
            learning_rate=6.4e-5,
            weight_decay=0.01,
            ema_decays=(0.9999,),
        ),
    },
)
