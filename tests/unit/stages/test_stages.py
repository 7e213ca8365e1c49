"""The seam of the stages: typed inputs and outputs, and what can be known before work starts."""

import subprocess
import sys

import pytest
from command import DIGITS
from pydantic import ValidationError

from rayograph.config import Encode, Job, Scale, TrainAutoencoder
from rayograph.config.job.stages import STAGES
from rayograph.config.reading.files import load_job
from rayograph.config.reading.overrides import apply_overrides, job_from
from rayograph.errors import ConfigError
from rayograph.pipeline.preflight import check
from rayograph.pipeline.resolve import resolve
from rayograph.runs.manifest import TYPES, Manifest
from rayograph.runs.stage_result import StageResult, commit
from rayograph.stages.stage import Stage, stage_of
from rayograph.storage import open_store

LIGHT = """
import sys
from rayograph.config.reading.files import load_job
from rayograph.stages.stage import stage_of
for declared in load_job(sys.argv[1]).stages.values():
    stage_of(declared)
print(sorted({'torch', 'ray', 'diffusers', 'deepspeed', 'sklearn'} & set(sys.modules)))
"""


def digits_with(name, declared):
    job = load_job(DIGITS)
    return Job(name=job.name, stages={**job.stages, name: declared})


def test_looking_at_a_jobs_stages_imports_nothing_heavy():
    done = subprocess.run([sys.executable, "-c", LIGHT, DIGITS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["pack", "train_autoencoder", "encode", "train_diffusion", "sample", "evaluate"])
def test_every_stage_of_a_job_declares_its_type_and_does_its_work_by_the_seam(name):
    declared = load_job(DIGITS).stages[name]
    assert STAGES.declaration(declared.kind) is type(declared)
    assert declared.output is TYPES[name]
    assert isinstance(stage_of(declared), Stage)


def test_generated_images_are_images_like_any_other():
    first_stage = load_job(DIGITS).stages["train_autoencoder"].model_copy(update={"images": "sample"})
    job = digits_with("again", first_stage)
    assert job.stages["again"].images == "sample"
    check(job, Scale(), ["again"])  # of what size they are, only the request tells


def test_an_input_of_another_type_is_refused_by_the_types():
    with pytest.raises(
        ValidationError, match=r"x\.images: expected a stage that makes images, got 'encode', which make"
    ):
        digits_with("x", Encode(images="encode"))


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ({"kind": "pakc"}, "stages.x.kind: expected one of 'encode', 'evaluate', "),
        ({"source": {"kind": "sklearn_digits"}}, "stages.x.kind: expected one of 'encode', .* got none"),
        ({"kind": "encode", "batch_sise": 3}, "stages.x.batch_sise: no such field; did you mean 'batch_size'"),
        ({"kind": "encode", "batch_size": -3}, "stages.x.batch_size: expected a whole number above 0, got -3"),
        ({"kind": "pack", "source": {"kind": "sklearn"}}, r"stages\.x\.source\.kind: expected one of 'sklearn_digits'"),
        (
            {"kind": "pack", "source": {"kind": "sklearn_digits"}},
            "stages.x: expected an image_size with resize='square'",
        ),
        ("pack", "stages.x: input should be a valid dictionary or object to extract fields from, got 'pack'"),
    ],
)
def test_what_is_wrong_with_a_stage_is_said_by_its_field(stage, said):
    with pytest.raises(ConfigError, match=said):
        job_from("j", 0, {"x": stage})


def test_a_manifest_of_before_types_has_that_of_its_kind(tmp_path):
    stages = resolve(load_job(DIGITS), Scale(), open_store(str(tmp_path)))
    for name, stage in stages.items():
        for field in stage.inputs.values():
            assert field.manifest() is not None
        written = commit(stage, StageResult(), 0.0).model_dump(mode="json")
        assert written.pop("type") == TYPES[name]
        assert Manifest.model_validate(written).type is TYPES[name]


def test_what_an_input_from_outside_the_job_holds_is_checked_before_work(tmp_path):
    stages = resolve(load_job(DIGITS), Scale(), open_store(str(tmp_path)))
    commit(stages["pack"], StageResult(facts={"image_size": 30, "class_names": []}), 0.0)
    network = load_job(DIGITS).stages["train_autoencoder"].network
    first_stage = TrainAutoencoder(
        images=stages["pack"].artifact.uri, network=network, total_images=64, global_batch_size=8
    )
    job, scale = apply_overrides(Job(name="j", stages={"first": first_stage}), Scale(), [])
    check(job, scale, ["first"])
    resolved = resolve(job, scale, open_store(str(tmp_path / "mine")))
    with pytest.raises(
        ConfigError, match=r"first\.network\.block_out_channels: f = 4 needs .* got .*digits.pack.* 30$"
    ):
        check(job, scale, ["first"], resolved)
