"""A model with one flipped bit, or a file too many, is refused by every stage that reads it, by the file's name."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import command
import pytest

from rayograph.cli import USER_ERROR

VAE, UNET = "model/vae/diffusion_pytorch_model.safetensors", "model/unet/diffusion_pytorch_model.safetensors"
READERS = {
    ":encode": ("train_autoencoder", VAE, "encode.batch_size=32"),
    ":train_diffusion": ("train_autoencoder", VAE, "train_diffusion.learning_rate=0.001"),
    ":sample": ("train_diffusion", UNET, "sample.seed=1"),
    ":evaluate": ("train_autoencoder", VAE, "evaluate.neighbours=2"),
}
"""Of each stage: whose model, which file, and a change that makes it run anew."""


@pytest.fixture
def whole(new_store: Callable[[str], Path]) -> Path:
    store = new_store("whole")
    command.run(":sample", store)
    return store


def test_a_flipped_bit_is_refused_by_every_stage_that_reads_the_model(whole: Path) -> None:
    for target, (stage, name, change) in READERS.items():
        (file,) = whole.glob(f"digits/{stage}/*/{name}")
        sound = file.read_bytes()
        file.write_bytes(sound[:-9] + bytes([sound[-9] ^ 1]) + sound[-8:])
        done = refused(target, whole, "--set", change)
        assert f"{file}: sha256 differs from the manifest's" in done, target
        file.write_bytes(sound)
    (folder,) = whole.glob("digits/train_diffusion/*/model/unet")
    extra = folder / "diffusion_pytorch_model.safetensors.index.json"
    extra.write_text("{}")
    assert f"{extra}: not among the files that manifest.json lists" in refused(
        ":sample", whole, "--set", "sample.seed=2"
    )


def refused(target: str, store: Path, *more: str) -> str:
    """The one line that the command ends with, below what it said on its way."""
    words = command.arguments(target, store, *more)
    done = subprocess.run(words, cwd=command.ROOT, env=command.environment(), capture_output=True, text=True)
    assert done.returncode == USER_ERROR, done.stderr[-4000:]
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("rayograph: ")
    return last
