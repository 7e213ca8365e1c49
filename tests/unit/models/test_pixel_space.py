"""Diffusion on pixels: what a job says, what is refused before any work, and what a batch becomes."""

import numpy as np
import pytest

from rayograph.conditioning.trained import conditioner_of
from rayograph.config import Denoiser, DiT, Job, Pack, Scale, SklearnDigits, TrainDiffusion, View
from rayograph.config.job.conditioners import ClassLabel
from rayograph.config.job.conditions.spatial import LowResolution
from rayograph.errors import ConfigError
from rayograph.ingest.decoders import Images
from rayograph.pipeline.preflight import check
from rayograph.pipeline.resolve import resolve
from rayograph.shards.pixels.decode import to_png
from rayograph.shards.sample import Sample
from rayograph.storage import open_store

UNET = Denoiser(num_classes=10, block_out_channels=(8, 8, 8), norm_num_groups=8, attention_head_dim=8)

PLAIN = UNET.model_copy(update={"num_classes": 0})


def trained(**fields):
    return TrainDiffusion(
        **{
            "images": "pack",
            "network": PLAIN if "conditioner" in fields else UNET,
            "total_images": 8,
            "global_batch_size": 8,
            **fields,
        }
    )


def job(size=8, **stages):
    return Job(name="j", stages={"pack": Pack(source=SklearnDigits(), image_size=size), **stages})


def test_a_training_on_images_reads_them_and_nothing_else():
    assert [(field, ref) for field, _, ref in trained().references()] == [("images", "pack")]
    dumped = trained().model_dump(mode="json")
    assert (dumped["moments"], dumped["autoencoder"]) == (None, None)
    assert TrainDiffusion.model_validate(dumped) == trained()


@pytest.mark.parametrize(("fields", "message"), [
    ({"moments": "encode"}, "moments: expected none beside images without an autoencoder, got 'encode'"),
    ({"images": None, "moments": "encode", "autoencoder": "a", "conditioner": LowResolution()},
     "images: expected what 'low_resolution' looks at, got moments alone"),
    ({"images": None, "moments": None}, "moments: expected one, or images to learn in pixel space, got none"),
    ({"images": None, "view": View(flip_probability=0.5)}, "view: expected none without images"),
])  # fmt: skip
def test_one_space_is_meant(fields, message):
    with pytest.raises(ValueError, match=message):
        trained(**fields)


def test_an_image_size_that_the_network_cannot_halve_is_refused_before_any_work():
    with pytest.raises(ConfigError, match=r"t.network.block_out_channels: 3 levels need a latent grid divisible by 4"):
        check(job(size=10, t=trained()), Scale(), ["pack", "t"])
    with pytest.raises(ConfigError, match=r"t.network.patch_size: expected a divisor of the latent grid 9×9, got 2"):
        check(job(size=9, t=trained(network=DiT(num_classes=10))), Scale(), ["pack", "t"])


def test_images_of_no_common_size_need_a_view():
    loose = Job(name="j", stages={"pack": Pack(source=SklearnDigits(), resize="none"), "t": trained()})
    with pytest.raises(ConfigError, match=r"t.view.image_size: expected a size, as pack leaves images at their own"):
        check(loose, Scale(), ["pack", "t"])
    check(Job(name="j", stages={**loose.stages, "t": trained(view=View(image_size=8))}), Scale(), ["pack", "t"])


def test_a_view_is_part_of_the_key(tmp_path):
    store = open_store(str(tmp_path))
    keys = [
        resolve(job(t=trained(**fields)), Scale(), store)["t"].key
        for fields in ({}, {"view": View(flip_probability=0.5)}, {"view": View()})
    ]
    assert keys[0] == keys[2] != keys[1]


def test_pixels_come_with_what_the_conditioner_reads_and_turned_round_as_the_view_says():
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    sample = Sample("a", {"png": to_png(picture), "cls": b"3"})
    told = conditioner_of(ClassLabel(num_classes=10), {"class_names": [str(number) for number in range(10)]})
    for chance, expected in ((0.0, picture), (1.0, picture[:, ::-1])):
        row = Images(8, View(flip_probability=chance), 0, told).decoder(np.arange(1))(0, sample)
        assert row["class"] == 3
        assert np.array_equal(row["pixels"], expected)
