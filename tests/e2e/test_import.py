"""Autoencoders that others trained, imported within a job: encoded with, trained on, drawn from, decoded with."""

import io
import shutil
import subprocess
import sys
from pathlib import Path

import command
import foreign
import numpy as np
import pytest
import torch

from rayograph.models.autoencoder import to_pixels
from rayograph.models.model_folder import load_autoencoder
from rayograph.runs.artifact import Artifact
from rayograph.shards.store import read_index, read_samples
from rayograph.storage import open_store

JOB = """
from rayograph.config import *

def trained(kind):
    return TrainDiffusion(
        moments=f"encode_{{kind}}", autoencoder=kind, total_images=128, global_batch_size=32, learning_rate=1e-3,
        network=Denoiser(num_classes=10, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
                         mid_block_attention=False),
        ema_decays=(0.9,), preview_every_images=0,
    )

def drawn(kind):
    return Sample(model=f"train_{{kind}}", num_samples=20, unit_size=10, sampler=Sampler(num_inference_steps=2))

folders = {folders!r}
job = Job(name="imported", stages={{
    "pack": Pack(source=SklearnDigits(), image_size=16, held_out_fraction=0.2, samples_per_shard=512),
    **{{kind: ImportModel(uri=uri, image_size=16) for kind, uri in folders.items()}},
    **{{f"encode_{{kind}}": Encode(autoencoder=kind) for kind in folders}},
    **{{f"train_{{kind}}": trained(kind) for kind in ("autoencoderkl", "vqmodel")}},
    **{{f"sample_{{kind}}": drawn(kind) for kind in ("autoencoderkl", "vqmodel")}},
    "evaluate": Evaluate(autoencoder="autoencoderkl", model="train_autoencoderkl", samples="sample_autoencoderkl"),
}})
"""
NAMES = {kind.lower(): kind for kind in foreign.KINDS}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Everything run once."""
    place = tmp_path_factory.mktemp("import")
    folders = {name: str(foreign.save_autoencoder(place / name, kind)) for name, kind in NAMES.items()}
    (place / "job.py").write_text(JOB.format(folders=folders))
    said("run", str(place / "job.py"), "--on", "cluster/laptop/scale.yaml", "--store", str(place / "store"))
    return open_store(str(place / "store"))


def said(*words):
    """What a command says, which must end well."""
    done = subprocess.run(
        [sys.executable, "-m", "rayograph", *words],
        cwd=command.ROOT, env=command.environment(), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout + done.stderr


def committed(store, stage):
    (key,) = store.folders(f"imported/{stage}")
    artifact = Artifact(store, f"imported/{stage}/{key}")
    return artifact, artifact.committed()


@pytest.mark.parametrize("name", NAMES)
def test_images_encoded_with_an_imported_autoencoder_decode_to_what_it_makes_of_them(store, name):
    _, images = committed(store, "pack")
    encoded, moments = committed(store, f"encode_{name}")
    assert moments.facts["latent_shape"] == [2, 8, 8]
    shard = moments.shards[0].path
    network = load_autoencoder(committed(store, name)[0])
    sample = read_samples(encoded, shard, read_index(encoded, shard), [0])[0]
    (member,) = [data for extension, data in sample.members.items() if extension.startswith("np")]
    mean = torch.from_numpy(np.load(io.BytesIO(member)).astype(np.float32))[:2]
    with torch.inference_mode():
        pixels = to_pixels(network.decode(mean[None]))
    assert pixels.shape == (1, 16, 16, 3)
    assert images.split("train")[0].path == shard


@pytest.mark.parametrize("name", ["autoencoderkl", "vqmodel"])
def test_a_denoiser_trained_on_its_latents_draws(store, name):
    _, drawn = committed(store, f"sample_{name}")
    assert drawn.samples == 20
    _, trained = committed(store, f"train_{name}")
    assert trained.facts["class_names"] == [str(number) for number in range(10)]
    assert [parent.uri.split("/")[-2] for parent in trained.parents] == [f"encode_{name}", name]


def test_it_is_evaluated_like_one_of_our_own(store):
    _, report = committed(store, "evaluate")
    assert "reconstruction_psnr" in report.facts


def test_the_store_works_on_from_another_place(store, tmp_path):
    copy = str(tmp_path / "copy")
    shutil.copytree(store.uri, copy)
    away = shutil.move(store.uri, f"{store.uri}-away")
    try:
        job = str(Path(store.uri).parent / "job.py")
        told = said("run", job, "--on", "cluster/laptop/scale.yaml", "--store", copy)
        assert told.count("committed before") == 14
        assert "done in" not in told
        listed = said("ls", copy)
        assert listed.count("committed 20") == 14
        assert f"{store.uri}/" not in listed
        whole = said("verify", copy, "--deep")
        assert whole.count("  whole: ") == len(whole.splitlines()) == 14
        drawn, _ = committed(open_store(copy), "sample_vqmodel")
        shard = "shards/samples-000001.tar"
        (sample,) = read_samples(drawn, shard, read_index(drawn, shard), [3])
        (tmp_path / "image.png").write_bytes(sample.members["png"])
        traced = said("trace", str(tmp_path / "image.png"), "--store", copy, "--again")
        assert "the record's and the store's are the same" in traced
    finally:
        shutil.move(away, store.uri)
