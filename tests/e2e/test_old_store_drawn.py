"""A store of an earlier version is worked on with: its model draws, in a stage, what that version drew."""

import json
import subprocess
import sys

import command
import numpy as np
import old_store

from rayograph.runs.artifact import Artifact
from rayograph.shards.pixels.decode import render
from rayograph.shards.scan import scan_shard
from rayograph.shards.store import read_samples
from rayograph.storage import open_store

JOB = """
import importlib.util

from rayograph.config import Sample, Sampler

spec = importlib.util.spec_from_file_location("whole", {path!r})
whole = importlib.util.module_from_spec(spec)
spec.loader.exec_module(whole)
again = Sample(seed=7, num_samples=6, unit_size=6, sampler=Sampler(num_inference_steps=3, guidance_scale=1.5))
job = whole.job.model_copy(update={{"stages": {{**whole.job.stages, "again": again}}}})
"""
KEY = "223e74fbb47edf98"
"""What the earlier version called the stage's artifact."""


def test_a_new_generation_by_its_model_makes_the_images_and_records_that_the_earlier_version_made(tmp_path):
    store = open_store(str(old_store.unpack(tmp_path)))
    (tmp_path / "more.py").write_text(JOB.format(path=old_store.JOB))
    words = [sys.executable, "-m", "rayograph", "run", str(tmp_path / "more.py:again")]
    done = subprocess.run(
        [*words, "--on", "cluster/laptop/scale.yaml", "--store", store.uri],
        cwd=command.ROOT, env=command.environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stderr.count("committed before") == 4
    name = "samples-000000.tar"
    made = Artifact(store, f"store-1/again/{KEY}/shards")
    before = Artifact(open_store(str(tmp_path / "again")), "")
    both = [read_samples(place, name, scan_shard(place.store, place.key(name)), range(6)) for place in (made, before)]
    for now, then in zip(*both, strict=True):
        assert now.key == then.key
        assert json.loads(now.members["json"]) == json.loads(then.members["json"])
        pixels, drawn = (render(sample.members["png"], sample.key).astype(int) for sample in (now, then))
        assert np.abs(pixels - drawn).max() <= 1  # of another batch, or on another machine
