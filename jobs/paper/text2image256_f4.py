"""Words to pictures in finer latents: the smaller text-to-image model that was released beside the paper's, LDM-4.

Data: as of text2image256.py. No figures are published. Parameters: 403,623,939 behind vq_f4 of autoencoder_zoo.py,
55,322,782. Here its transformer is half as wide as that of text2image256.py, and it is trained as the larger one: how
it was is not published.
"""

from autoencoder_zoo import OPENIMAGES, VQ_F4
from text2image256 import BERT, PACK

from rayograph.config import ConditionDenoiser, Encode, Job, NoiseSchedule, Text, TrainDiffusion

job = Job(
    name="text2image256-f4",
    stages={
        "openimages": OPENIMAGES,
        "train_autoencoder": VQ_F4,
        "pack": PACK,
        "encode": Encode(),
        "train_diffusion": TrainDiffusion(
            network=ConditionDenoiser(
                block_out_channels=(192, 384, 576, 960),
                layers_per_block=2,
                attention_levels=(1, 2, 3),
                attention_head_dim=32,
                cross_attention_dim=640,
            ),
            conditioner=Text(tokenizer=BERT, max_length=77, num_layers=32, width=640, feed_forward=2560),
            noise_schedule=NoiseSchedule(beta_start=0.0015, beta_end=0.0195, prediction_type="epsilon"),
            condition_drop_probability=0.1,
            total_images=390_000 * 680,
            global_batch_size=680,
            learning_rate=1e-4,
            weight_decay=0.01,
            ema_decays=(0.9999,),
        ),
    },
)
