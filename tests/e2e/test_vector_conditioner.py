"""A conditioner from outside the package (tests/extensions/vectors.py): packed, encoded, trained, asked for, drawn."""

import io
import json
import shutil
import subprocess
import sys

import command
import numpy as np
from PIL import Image

from rayograph.runs.artifact import Artifact
from rayograph.shards.committed import Shards
from rayograph.storage import open_store

SCALE = command.ROOT / "cluster" / "laptop" / "scale.yaml"


def rayograph(*words, cwd, fails=False):
    done = subprocess.run(
        [sys.executable, "-m", "rayograph", *map(str, words)],
        cwd=cwd,
        env=command.environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr[-4000:]
    return done


def tinted_pictures(folder):
    """Squares of red, green and blue to any degree, each picture with a row in a table that says so."""
    draw = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    rows = []
    for number in range(256):
        tint = draw.integers(0, 2, 3)
        pixels = np.clip(tint * 200 + draw.integers(0, 50, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{number:03d}.png")
        rows.append({"file_name": f"{number:03d}.png", "tint": tint.tolist()})
    (folder / "pictures" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_conditioner_in_one_file_goes_from_a_tables_column_to_a_requests_pictures(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(command.ROOT / "tests" / "extensions", folder)
    tinted_pictures(folder)
    wanted = [[1, 0, 0], [0, 0, 1], [1, 1, 0]]
    (folder / "wanted.jsonl").write_text("".join(json.dumps({"tint": tint, "count": 8}) + "\n" for tint in wanted))
    store = tmp_path / "store"
    rayograph("run", "tinted.py", "--on", SCALE, "--store", store, cwd=folder)
    (drawn,) = (store / "tinted" / "sample").iterdir()
    (model,) = (store / "tinted" / "train_diffusion").iterdir()
    assert json.loads((model / "model" / "conditioner" / "config.json").read_text())["kind"] == "vector"
    artifact = Artifact(open_store(str(drawn)), "")
    manifest = artifact.committed()
    shards, lit, dark = Shards.of(artifact, manifest, manifest.shards, None), [], []
    for shard in manifest.shards:
        index = shards.index(shard.path)
        for sample in shards.rows(shard.path, index, range(len(index))).samples():
            record = json.loads(sample.members["json"])
            assert record["tint"] == wanted[record["number"] // 8]
            pixels = np.asarray(Image.open(io.BytesIO(sample.members["png"])))
            shades = pixels.mean(axis=(0, 1))
            asked = np.array(record["tint"], bool)
            lit.append(shades[asked].mean())
            dark.append(shades[~asked].mean())
    assert len(lit) == 24
    assert np.mean(lit) > np.mean(dark) + 15  # pictures are of the colour that was asked for
    (folder / "wanted.jsonl").write_text(json.dumps({"tint": [1, 0]}) + "\n")
    refused = rayograph("run", "tinted.py", "--on", SCALE, "--store", tmp_path / "other", cwd=folder, fails=True)
    assert "row 0: tint: expected a tint of 3 numbers, got [1, 0]" in refused.stderr
