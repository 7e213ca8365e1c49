"""Conditioners: what a job says of them, what they read of samples and requests, what the data makes of them."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from asked import as_csv, as_json_lines, as_parquet, pages

from rayograph.conditioning.settled import settled
from rayograph.config import Denoiser, TrainDiffusion
from rayograph.config.job.conditioners import CONDITIONERS, ClassLabel, Unconditional
from rayograph.errors import ConfigError, DataError
from rayograph.ingest.columns import to_npy
from rayograph.ingest.decoders import Moments
from rayograph.ingest.reading import PlannedReader
from rayograph.runs.artifact import Artifact
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.shards.committed import Shards
from rayograph.shards.order.sample_order import DataSet, Plan
from rayograph.shards.sample import Sample
from rayograph.shards.store import put_shard
from rayograph.storage import open_store

NAMES = ["cat", "dog"]


@pytest.fixture
def vector(monkeypatch):
    """The conditioner of tests/extensions/vectors.py, for a vector of two numbers."""
    monkeypatch.setattr(CONDITIONERS, "_known", dict(CONDITIONERS._known))
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "extensions"))
    monkeypatch.delitem(sys.modules, "vectors", raising=False)
    import vectors

    yield vectors.VectorConditioner(vectors.Vector(field="tint", size=2), None)
    sys.modules.pop("vectors", None)


def training(**said):
    return TrainDiffusion(total_images=8, global_batch_size=8, **said)


@pytest.mark.parametrize("said", ["auto", 2])
def test_classes_said_by_the_network_or_by_the_conditioner_are_the_same_condition(said):
    old = training(network=Denoiser(num_classes=said))
    new = training(network=Denoiser(), conditioner=ClassLabel(num_classes=said))
    assert old.conditioning == new.conditioning
    (old, of_old), (new, of_new) = (settled("t", one, [{"class_names": NAMES}]) for one in (old, new))
    assert old.conditioning == new.conditioning == of_old.declared == of_new.declared == ClassLabel(num_classes=2)
    assert of_old.facts == of_new.facts == {"class_names": NAMES}


def test_classes_of_data_without_any_are_no_condition():
    for one in (training(network=Denoiser(num_classes="auto")), training(network=Denoiser(), conditioner=ClassLabel())):
        found, conditioner = settled("t", one, [{"class_names": []}])
        assert found.conditioning == conditioner.declared == Unconditional()


def test_conditions_are_said_once_and_fit_the_data():
    with pytest.raises(ValueError, match=r"conditioner: expected none beside network\.num_classes, got 'class_label'"):
        training(network=Denoiser(num_classes=2), conditioner=ClassLabel())
    with pytest.raises(ConfigError, match=r"^t\.conditioner\.num_classes: expected 2, the data's classes, or 0, got 3"):
        settled("t", training(network=Denoiser(), conditioner=ClassLabel(num_classes=3)), [{"class_names": NAMES}])
    mixed = [{"class_names": NAMES}, {"class_names": ["cat", "owl"]}]
    with pytest.raises(ConfigError, match=r"^t\.moments: expected data sets with one class_names, got"):
        settled("t", training(network=Denoiser(), conditioner=ClassLabel()), mixed)


@pytest.mark.parametrize("write", [as_parquet, as_json_lines, as_csv])
def test_a_column_of_lists_is_read_from_any_file_and_its_first_bad_row_is_named(vector, tmp_path, write):
    ending = {as_parquet: "parquet", as_json_lines: "jsonl", as_csv: "csv"}[write]
    spec = ModelSpec(vector, 8, 4, 1000)
    (page,) = pages(write(tmp_path / f"a.{ending}", [{"tint": [0.5, 1.0]}, {"tint": [2.0, 3.0]}]), spec=spec)
    assert page["tint"].to_pylist() == [[0.5, 1.0], [2.0, 3.0]]
    bad = write(tmp_path / f"b.{ending}", [{"tint": [0.5, 1.0]}, {"tint": [2.0]}])
    with pytest.raises(DataError, match=r"row 1: tint: expected a tint of 2 numbers, got \[2\.0\]$"):
        list(pages(bad, spec=spec))


@pytest.mark.parametrize("bad", [None, {"tint": [1]}, {"tint": "red"}, {}])
def test_what_a_sample_says_is_read_beside_its_moments_and_a_bad_one_is_replaced_and_named(vector, tmp_path, bad):
    store = open_store(str(tmp_path))
    said = [{"tint": [number, 0.5]} for number in range(8)]
    if bad is not None:
        said[3] = bad
    samples = [
        Sample(f"k{n}", {"npy": to_npy(np.full((4, 2, 2), n, np.float32)), "json": json.dumps(said[n]).encode()})
        for n in range(8)
    ]
    put_shard(Artifact(store, "a"), "a.tar", samples)
    plan = Plan((DataSet((8,)),), 0, 4, 2)
    reader = PlannedReader((Shards(Artifact(store, "a"), ("a.tar",)),), plan, Moments((4, 2, 2), vector))
    columns = reader.read(np.arange(8))
    assert np.array_equal(columns["tint"][:, 0], columns["moments"][:, 0, 0, 0])
    named = [text for text in columns["substituted"] if text]
    assert len(named) == (bad is not None)
    assert all("sample k3: expected a tint of 2 numbers, got" in text for text in named)
