"""Known before long work: classes of packed data, how often previews are made, artifacts that are damaged."""

import pytest
from command import DIGITS

from rayograph.commands.artifact_listing import list_artifacts
from rayograph.config import Scale
from rayograph.config.reading.files import load_job
from rayograph.config.reading.overrides import apply_overrides
from rayograph.errors import ConfigError
from rayograph.pipeline.preflight import check
from rayograph.pipeline.resolve import resolve
from rayograph.runs.artifact import MANIFEST, RESOLVED
from rayograph.runs.stage_result import StageResult, commit
from rayograph.storage import open_store
from rayograph.trainer.fidelity import advice, headline

TEN = [str(number) for number in range(10)]


def packed(tmp_path, *assignments, classes=TEN):
    """The digits job with its images packed, as far as its facts go."""
    job, scale = apply_overrides(load_job(DIGITS), Scale(), assignments)
    stages = resolve(job, scale, open_store(str(tmp_path)))
    commit(stages["pack"], StageResult(facts={"class_names": list(classes)}), 0.0)
    return stages


def check_classes(stages):
    """As a run does once the images are packed."""
    stage = stages["pack"]
    check(stage.job, stage.scale, [name for name in stages if name != "pack"], stages)


@pytest.mark.parametrize("said", ["10", "0", "auto"])
def test_classes_that_are_the_datas_are_let_through(tmp_path, said):
    check_classes(packed(tmp_path, f"train_diffusion.network.num_classes={said}"))


def test_classes_that_are_not_are_refused_before_any_training(tmp_path):
    with pytest.raises(ConfigError, match=r"^train_diffusion.network.num_classes: expected 10, .* got 7$"):
        check_classes(packed(tmp_path / "a", "train_diffusion.network.num_classes=7"))
    with pytest.raises(ConfigError, match="expected 0, as the data has no classes, got 10"):
        check_classes(packed(tmp_path / "b", classes=[]))


@pytest.mark.parametrize(("said", "every"), [("null", 1600), ("0", None), ("64", 64)])
def test_previews_are_made_ten_times_unless_said_otherwise(said, every):
    job, _ = apply_overrides(load_job(DIGITS), Scale(), [f"train_autoencoder.preview_every_images={said}"])
    assert job.stages["train_autoencoder"].previews_every == every


def test_a_poor_first_stage_is_told_what_to_change():
    declared = load_job(DIGITS).stages["train_autoencoder"]
    facts = {"held_out_images": 256, "held_out_unreadable": [], "held_out_psnr": 14.25, "held_out_ssim": 0.4}
    assert headline(facts) == "PSNR 14.2 dB, SSIM 0.400 on 256 held-out images"
    (said,) = advice(declared, facts)
    assert all(part in said for part in ("total_images (16,000)", "learning_rate (0.004)", "latent_channels (3)"))
    assert advice(declared, facts | {"held_out_psnr": 20.0}) == []
    assert "no held-out images" in headline({"held_out_images": 0})
    assert headline({}) == ""


def test_a_damaged_artifact_is_a_line_and_hides_no_other(tmp_path):
    stages = packed(tmp_path)
    stages["encode"].artifact.write(MANIFEST, b'{"format": 99}')
    stages["sample"].artifact.write(RESOLVED, b"job: {stages: 3}\nstage: x\n")
    lines = list(list_artifacts(open_store(str(tmp_path))))
    assert [line.split("  ")[1].split()[0] for line in lines] == ["cannot", "committed", "cannot"]
