"""docs/extending.md: every file on the page, written to a folder and used, as a reader would."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import command
import numpy as np
import pytest
from PIL import Image
from ray_head import ray_head

from rayograph.evaluation.distances import frechet_distance
from rayograph.evaluation.statistics import Moments
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import HELD_OUT
from rayograph.shards.committed import Shards
from rayograph.shards.store import read_index, read_samples
from rayograph.storage import open_store

PAGE = command.ROOT / "docs" / "extending.md"
BLOCK = re.compile(r'^```python title="([\w.]+)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)
SCALE = command.ROOT / "cluster" / "laptop" / "scale.yaml"


@pytest.fixture
def folder(tmp_path):
    """The page's files."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, text in BLOCK.findall(PAGE.read_text()):
        assert not (folder / name).exists()
        (folder / name).write_text(text)
    return folder


def rayograph(*words, cwd, fails=False, **variables):
    done = subprocess.run(
        [sys.executable, "-m", "rayograph", *map(str, words)],
        cwd=cwd,
        env=command.environment(**variables),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr[-4000:]
    return done


def images_of(uri, split=None):
    """(key, pixels) of every image of an artifact, or of a split."""
    artifact = Artifact(open_store(uri), "")
    manifest = artifact.committed()
    shards = Shards.of(artifact, manifest, manifest.shards, None)
    for shard in manifest.shards if split is None else manifest.split(split):
        index = shards.index(shard.path)
        for sample in shards.rows(shard.path, index, range(len(index))).samples():
            yield sample.key, np.asarray(Image.open(io.BytesIO(sample.members["png"])).convert("RGB"))


def assert_inverted(store):
    (packed,), (made,) = (list((Path(store) / "inverted" / stage).iterdir()) for stage in ("pack", "invert"))
    before, after = dict(images_of(str(packed))), dict(images_of(str(made)))
    assert before.keys() == after.keys()
    assert len(after) > 1000
    assert all((after[key] == 255 - pixels).all() for key, pixels in before.items())
    assert command.verified(store).count("whole") == 2


def test_the_stage_of_the_page_works_from_beside_its_job_file(folder, tmp_path):
    store = tmp_path / "store"
    shown = rayograph("show", "inverted.py", cwd=folder).stdout
    assert "kind: invert" in shown
    rayograph("run", "inverted.py", "--on", SCALE, "--store", store, cwd=folder)
    assert_inverted(store)
    again = rayograph("run", "inverted.py", "--on", SCALE, "--store", store, cwd=folder)
    assert again.stderr.count("committed before") == 2
    assert "inverted/invert/" in rayograph("ls", store, cwd=tmp_path).stdout


@pytest.fixture(scope="module")
def head():
    """A cluster whose nodes know neither the package nor the page's files."""
    with ray_head(cpus=2) as head:
        yield head


def test_a_joined_cluster_gets_the_module_from_the_command(folder, tmp_path, head):
    store = tmp_path / "store"
    variables = {name: value for name, value in head.client.items() if name.startswith(("RAY_", "HOME"))}
    rayograph("run", "inverted.py", "--store", store, cwd=folder, RAY_ADDRESS=head.address, **variables)
    assert_inverted(store)


def test_an_installed_package_brings_its_kinds_by_entry_point(folder, tmp_path):
    site = tmp_path / "site"
    (site / "inverting-1.0.dist-info").mkdir(parents=True)
    (site / "inverting-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: inverting\nVersion: 1.0\n")
    (site / "inverting-1.0.dist-info" / "entry_points.txt").write_text("[rayograph.stages]\ninvert = invert:Invert\n")
    module = (folder / "invert.py").read_text().replace("@STAGES.register\n", "")
    (site / "invert.py").write_text(module)
    (folder / "invert.py").unlink()
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    assert "kind: invert" in rayograph("show", "inverted.py", cwd=folder, PYTHONPATH=path).stdout
    rayograph("run", "inverted.py", "--store", tmp_path / "store", cwd=folder, PYTHONPATH=path)
    assert_inverted(tmp_path / "store")


def test_the_conditioner_and_the_networks_of_the_page_train_and_draw_in_a_submitted_job(folder, tmp_path, head):
    """Its driver, training workers and Serve replicas find the modules beside the job file."""
    store = tmp_path / "store"
    shutil.copy(SCALE, folder)
    package = {"py_modules": [str(command.ROOT / "platform" / "rayograph")]}
    done = head.submit(
        *["python", "-m", "rayograph", "run", "odd.py", "--on", SCALE.name, "--store", str(store)],
        working_dir=folder,
        options=["--runtime-env-json", json.dumps(package)],
        timeout=600,
    )
    assert done.exit_code == 0, done.shown[-6000:]
    (model,), (drawn,) = (list((store / "odd" / stage).iterdir()) for stage in ("train_diffusion", "sample"))
    kinds = [
        json.loads((model / "model" / part / "config.json").read_text()) for part in ("vae", "unet", "conditioner")
    ]
    assert [kinds[0]["declared"]["kind"], kinds[1]["declared"]["kind"], kinds[2]["kind"]] == [
        "patches",
        "plain",
        "parity",
    ]
    artifact = Artifact(open_store(str(drawn)), "")
    samples = [
        one
        for shard in artifact.committed().shards
        for one in read_samples(artifact, shard.path, read_index(artifact, shard.path), range(shard.samples))
    ]
    assert [one.members["cls"] for one in samples] == [b"0", b"1"] * 8
    assert json.loads(samples[1].members["json"])["odd"] in (1, True)
    assert command.verified(store).count("whole") == 5
    unknown = rayograph("export", model, "--to", tmp_path / "exported", cwd=tmp_path, fails=True)
    assert "'parity'" in unknown.stderr or "'plain'" in unknown.stderr


def test_the_feature_extractor_of_the_page_measures_in_its_own_space(folder, tmp_path):
    store = tmp_path / "store"
    rayograph("run", "coloured.py", "--on", SCALE, "--store", store, cwd=folder)
    (report,), (packed,) = (list((store / "coloured" / stage).iterdir()) for stage in ("evaluate", "pack"))
    figures = json.loads((report / "report.json").read_text())
    assert figures["feature_space"] == "2 levels of each colour, counted"
    bright = {key: (pixels >= 128).mean() for key, pixels in images_of(str(packed))}
    held_out = {key for key, _ in images_of(str(packed), HELD_OUT)}
    features = np.array(
        [[1 - share, share] for share in bright.values()]
    )  # grey: of 8 cells only the first and the last
    kept = features[[key in held_out for key in bright]]
    assert figures["counts"] == {
        "train": len(features) - len(kept),
        "held_out": len(kept),
        "samples": len(features),
        "stand_ins": len(features) - len(kept),
    }
    expected = frechet_distance(Moments.of(features), Moments.of(kept))
    assert figures["frechet_distance"] == pytest.approx(expected, abs=1e-12)
