"""Models out of a training's checkpoints: of any average that it kept, or of one between."""

import json
from pathlib import Path

import numpy as np
import pytest
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DModel
from PIL import Image
from safetensors.numpy import load_file

from rayograph.cli import main

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def trained(trained_store: Path) -> Path:
    """Snapshots every 128 images up to 384, checkpoints at 512 and 640."""
    (artifact,) = (trained_store / "digits" / "train_diffusion").iterdir()
    return artifact


def exported(artifact: Path, target: Path, *options: str) -> dict[str, np.ndarray]:
    assert main(["export", str(artifact), "--to", str(target), *options]) == 0
    return load_file(target / WEIGHTS)


def test_the_newest_average_is_the_model_and_from_pretrained_opens_it(trained: Path, tmp_path: Path) -> None:
    found, committed = exported(trained, tmp_path), load_file(trained / "model" / WEIGHTS)
    assert found.keys() == committed.keys()
    assert all(np.array_equal(found[name], committed[name]) for name in committed)
    UNet2DModel.from_pretrained(tmp_path / "unet")
    AutoencoderKL.from_pretrained(tmp_path / "vae")
    DDPMScheduler.from_pretrained(tmp_path / "scheduler")
    facts = json.loads((tmp_path / "export.json").read_text())
    assert facts["images_seen"] == 640
    assert facts["shares"] == {"640 ema-0.995": 1.0}


def test_another_average_or_an_earlier_checkpoint_is_another_model(trained: Path, tmp_path: Path) -> None:
    averaged = exported(trained, tmp_path / "a")
    plain = exported(trained, tmp_path / "b", "--average", "weight")
    earlier = exported(trained, tmp_path / "c", "--average", "weight", "--at", "512")
    name = "conv_in.weight"
    assert not np.allclose(averaged[name], plain[name], atol=1e-4)
    assert not np.allclose(earlier[name], plain[name], atol=1e-4)


def test_a_length_that_was_kept_comes_out_again(trained: Path, tmp_path: Path) -> None:
    kept = exported(trained, tmp_path / "kept", "--average", "length-0.1")
    solved = exported(trained, tmp_path / "solved", "--length", "0.1")
    assert all(np.allclose(kept[name], solved[name], atol=1e-5) for name in kept)


def test_a_length_between_two_lies_between_them(trained: Path, tmp_path: Path) -> None:
    short, middle, long = (
        exported(trained, tmp_path / length, "--length", length) for length in ("0.1", "0.15", "0.2")
    )
    distance = {
        pair: sum(float(np.square(a[name] - b[name]).sum()) for name in middle) ** 0.5
        for pair, a, b in (("whole", short, long), ("first", short, middle), ("second", middle, long))
    }
    assert max(distance["first"], distance["second"]) < distance["whole"]
    assert distance["first"] + distance["second"] < 1.2 * distance["whole"]


def test_a_snapshot_serves_when_its_checkpoint_is_gone(trained: Path, tmp_path: Path) -> None:
    assert not (trained / "checkpoints" / f"{256:012d}" / "checkpoint.json").exists()
    assert exported(trained, tmp_path, "--length", "0.15", "--at", "256")
    assert json.loads((tmp_path / "export.json").read_text())["images_seen"] == 256


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--average", "ema-0.5"),
            "--average: expected one of ema-0.995, length-0.1, length-0.2, weight, got 'ema-0.5'",
        ),
        (("--at", "100"), "expected a checkpoint at 100 images"),
        (("--length", "0.5"), "--length: expected a share of the training between 0 and 0.28, got 0.5"),
        (("--length", "0.1", "--at", "100"), "expected a checkpoint or snapshot at 100 images"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    assert main(["export", str(trained), "--to", str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_other_stages_and_places_are_refused(
    trained_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (packed,) = (trained_store / "digits" / "pack").iterdir()
    (autoencoder,) = (trained_store / "digits" / "train_autoencoder").iterdir()
    for uri, more, said in (
        (packed, (), "expected a training, got a stage of kind pack"),
        (tmp_path, (), "expected a training's artifact"),
        (autoencoder, ("--length", "0.1"), "expected a training with ema_lengths"),
    ):
        assert main(["export", str(uri), "--to", str(tmp_path / "out"), *more]) == 2
        assert said in capsys.readouterr().err
    assert main(["export", str(autoencoder), "--to", str(tmp_path / "out")]) == 0
    AutoencoderKL.from_pretrained(tmp_path / "out" / "vae")


def test_previews_are_made_and_committed(trained_store: Path) -> None:
    for stage, positions in (("train_autoencoder", (640, 1280)), ("train_diffusion", (320, 640))):
        (artifact,) = (trained_store / "digits" / stage).iterdir()
        names = [f"previews/{position:012d}.png" for position in positions]
        committed = [file["path"] for file in json.loads((artifact / "manifest.json").read_text())["files"]]
        assert [name for name in committed if name.startswith("previews/")] == names
        for name in names:
            picture = np.asarray(Image.open(artifact / name))
            assert picture.shape[0] >= 64
            assert picture.std() > 5  # something is on it


def test_rows_say_where_the_time_goes(trained_store: Path) -> None:
    (artifact,) = (trained_store / "digits" / "train_diffusion").iterdir()
    rows = [json.loads(line) for line in (artifact / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        shares = [row[f"{name}_fraction"] for name in ("data_wait", "compute", "communication", "update")]
        assert all(0 <= share <= 1 for share in shares)
        assert 0 < sum(shares) <= 1.01  # the rest is the machine's, however busy it is
        assert 0 < row["mfu"] < 1
        assert row["flops_per_second"] > 0
