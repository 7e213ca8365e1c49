"""`num_classes="auto"` from the data to the report: as many classes as the images have, known once they are packed."""

import json
from collections.abc import Callable
from pathlib import Path

import command

from rayograph.runs.artifact import Artifact
from rayograph.shards.store import read_index, read_samples
from rayograph.storage import open_store


def test_a_model_has_as_many_classes_as_its_data_and_draws_and_judges_all_of_them(
    new_store: Callable[[str], Path],
) -> None:
    place = new_store("auto")
    before = set(place.glob("digits/*/*/manifest.json"))
    command.run("", place, "--set", "train_diffusion.network.num_classes=auto")
    store = open_store(str(place))

    def only(stage: str) -> Artifact:
        found = set(place.glob(f"digits/{stage}/*/manifest.json"))
        (manifest,) = found - before or found
        return Artifact(store, str(manifest.parent.relative_to(place)))

    names = only("pack").manifest().facts["class_names"]
    assert names == [str(digit) for digit in range(10)]
    trained = only("train_diffusion").manifest()
    assert trained.facts["class_names"] == names
    assert json.loads(only("train_diffusion").read("model/conditioner/config.json"))["num_classes"] == 10
    drawn, classes = only("sample"), set()
    for shard in drawn.manifest().shards:
        index = read_index(drawn, shard.path)
        classes |= {int(sample.members["cls"]) for sample in read_samples(drawn, shard.path, index, range(len(index)))}
    assert classes == set(range(10))
    report = only("evaluate").manifest().facts
    assert report["compared"]["samples"] == 96
    assert set(report["class_agreement_by_class"]) == set(names)
