"""Words to pictures: LDM-8 on captioned images of the web at 256×256 (Rombach et al. 2022, sec. 4.3.1, tab. 2, 15).

Data: tars data/laion400m/*.tar of 000000000.jpg and 000000000.txt, 400,000,000 pairs; and BERT's 30,522 tokens,
data/bert-base-uncased/vocab.txt. Published, of 250 DDIM steps over 30,000 captions of COCO: FID 23.31, IS 20.03; with
guidance 1.5 FID 12.63, IS 30.29. Parameters: 872,300,484, and 581,994,042 of the transformer over 77 tokens, which is
trained with it, behind kl_f8 of autoencoder_zoo.py, 83,653,863.
"""

from autoencoder_zoo import KL_F8, OPENIMAGES

from rayograph.config import (
    ConditionDenoiser,
    Encode,
    Job,
    NoiseSchedule,
    Pack,
    Text,
    TokenizerFile,
    TrainDiffusion,
    WebDatasetShards,
)

BERT = TokenizerFile(uri="data/bert-base-uncased/vocab.txt")
PACK = Pack(
    source=WebDatasetShards(uri="data/laion400m"),
    image_size=256,
    format="jpeg",
    held_out_fraction=0.0001,
    samples_per_shard=10_000,
)

job = Job(
    name="text2image256",
    stages={
        "openimages": OPENIMAGES,
        "train_autoencoder": KL_F8,
        "pack": PACK,
        "encode": Encode(),
        "train_diffusion": TrainDiffusion(
            network=ConditionDenoiser(
                block_out_channels=(320, 640, 1280, 1280),
                layers_per_block=2,
                attention_levels=(0, 1, 2),
                num_attention_heads=8,
                cross_attention_dim=1280,
            ),
            conditioner=Text(
                tokenizer=BERT, max_length=77, num_layers=32, width=1280, mask_padding=False, output_projection=True
            ),
            noise_schedule=NoiseSchedule(beta_start=0.00085, beta_end=0.012, prediction_type="epsilon"),
            condition_drop_probability=0.1,
            total_images=390_000 * 680,
            global_batch_size=680,
            learning_rate=1e-4,
            weight_decay=0.01,
            ema_decays=(0.9999,),
        ),
    },
)
