"""A report shows the first samples beside what they were asked for, and a real image of the same caption."""

import asked
import numpy as np
from worded import Worded, WordedConditioner

from rayograph.config import ImageFile
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import Manifest
from rayograph.sampling.asked_samples import asked_samples
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.sampling.work_unit import Files, Origin
from rayograph.shards.committed import Shards
from rayograph.shards.pixels.decode import render, to_png
from rayograph.shards.sample import Sample
from rayograph.shards.store import put_shard, shard_files, shard_name
from rayograph.storage import open_store

SPEC = ModelSpec(WordedConditioner(Worded(), None), side=8, multiple=4, num_train_timesteps=1000)


def shade(value):
    return np.full((4, 4, 3), value, np.uint8)


def committed(artifact, shards):
    """An artifact of these shards: (name, split, samples)."""
    files, records = [], []
    for name, split, samples in shards:
        more, record = shard_files(artifact, name, split, put_shard(artifact, name, samples))
        files += more
        records.append(record)
    manifest = artifact.commit(
        Manifest(
            job="job", stage="stage", kind="sample", key="key", seed=0, files=files, shards=records, parents=[],
            config={}, scale={}, facts={}, created="2026-01-01T00:00:00+00:00", seconds=0.0, machine={}, versions={},
        )
    )  # fmt: skip
    return Shards.of(artifact, manifest, manifest.shards, None)


def drawn(folder, rows, spec=SPEC):
    """A generation whose sample n is all of shade 10 n."""
    plan = asked.plan_of(folder / "store", asked.as_json_lines(folder / "r.jsonl", rows), spec=spec, name="drawn")
    origin, files, shards = Origin("drawn", plan.digest, "m", ()), Files(ImageFile()), []
    for number in range(plan.total_units):
        batch = plan.draws(plan.unit(number))
        samples = [
            Sample(f"{n:09d}", {"png": files.bytes_of(shade(10 * n), origin.record(batch, row))})
            for row, n in enumerate(batch.numbers.tolist())
        ]
        shards.append((plan.unit(number).shard, "samples", samples))
    return committed(plan.artifact, shards)


def test_samples_stand_beside_their_conditions_and_a_real_image_of_their_caption(tmp_path):
    (tmp_path / "given.png").write_bytes(to_png(shade(200)))
    rows = [
        {"prompt": "a red cat", "image": "given.png", "count": 3},
        {"prompt": "a bird", "image": "given.png", "negative_prompt": "blur"},
    ]
    pack = Artifact(open_store(str(tmp_path)), "pack")
    real = [Sample("0", {"png": to_png(shade(77)), "txt": b"a bird\n"}), Sample("1", {"png": to_png(shade(1))})]
    images = committed(pack, [(shard_name("held_out", 0), "held_out", real)])
    found = asked_samples(drawn(tmp_path, rows), None, images)
    assert [render(one.drawn, "it").max() for one in found] == [0, 10, 20, 30]
    assert [dict(one.texts) for one in found[2:]] == [
        {"prompt": "a red cat"},
        {"prompt": "a bird", "negative_prompt": "blur"},
    ]
    assert {name: render(png, "it").max() for name, png in found[0].given} == {"image": 200}
    assert [one.real is None for one in found] == [True, True, True, False]
    assert render(found[3].real, "it").max() == 77


def test_samples_of_classes_alone_are_left_to_their_sheets(tmp_path):
    assert asked_samples(drawn(tmp_path, [{"class": "cat", "count": 2}], asked.SPEC), None, None) == []
