"""Keys: an upgrade keeps every artifact, and a changed meaning takes no old one for its own.

`python tests/unit/pipeline/test_keys.py` writes defaults.json anew, once a version says why a default changed.
"""

import json
import subprocess
import sys
import typing
from pathlib import Path

import pytest
from pydantic_core import to_jsonable_python

import rayograph.config as declarations
from rayograph.config import Job, Pack, Sample, Sampler, Scale, SklearnDigits
from rayograph.config.declaration import NOT_IN_KEY, Declaration
from rayograph.config.reading.files import load_job
from rayograph.pipeline.resolve import resolve
from rayograph.storage import open_store

DIGITS = str(Path(__file__).parents[3] / "jobs" / "digits.py")
DEFAULTS = Path(__file__).parent / "defaults.json"
WHERE_IT_RUNS = {"ActorScale", "IngestScale", "RayCluster", "SamplingScale", "Scale", "TrainingScale"}

PINNED = {
    "pack": "9b03be5353b06443",
    "train_autoencoder": "2fa736c796806784",
    "encode": "a6818d20ed022411",
    "train_diffusion": "017334113c5d6358",
    "sample": "326fe9f0d64a7ccf",
    "evaluate": "c6c335a37295f9e0",
}
"""Keys of jobs/digits.py. One that moves starts a training of weeks anew: only a raised version, told in the changelog,
or a changed recipe may do that."""

ADDED = """
import sys
from pydantic._internal._model_construction import ModelMetaclass

make = ModelMetaclass.__new__

def with_a_field_more(kind, name, bases, namespace, **options):
    if namespace["__module__"].startswith("rayograph.config."):
        namespace.setdefault("__annotations__", {})["added_later"] = tuple[int, ...] | None
        namespace["added_later"] = None
    return make(kind, name, bases, namespace, **options)

ModelMetaclass.__new__ = with_a_field_more

from rayograph.config import Job, Scale
from rayograph.config.reading.files import load_job
from rayograph.config.reading.overrides import apply_overrides
from rayograph.pipeline.resolve import resolve
from rayograph.storage import open_store

for assignments in ([], ["train_diffusion.network.added_later=[1]"]):
    job, scale = apply_overrides(load_job(sys.argv[1]), Scale(), assignments)
    print(*(stage.key for stage in resolve(job, scale, open_store("/nowhere")).values()))
"""


def keys_of(job: Job) -> dict[str, str]:
    return {name: stage.key for name, stage in resolve(job, Scale(), open_store("/nowhere")).items()}


def all_declarations() -> list[type[Declaration]]:
    found = [getattr(declarations, name) for name in declarations.__all__]
    return [kind for kind in found if isinstance(kind, type) and kind.__name__ not in {*WHERE_IT_RUNS, "Job"}]


def described(kind: type[Declaration]) -> dict[str, typing.Any]:
    """Version and defaults: what is meant where nothing is said."""
    defaults = {
        name: _plain(field.get_default(call_default_factory=True, validated_data={}))
        for name, field in kind.model_fields.items()
        if not field.is_required() and NOT_IN_KEY not in field.metadata
    }
    return {"version": kind.version, "defaults": defaults}


def _plain(value: object) -> object:
    """Of a declaration inside, what is said of it: its own defaults stand under its own name."""
    if isinstance(value, Declaration):
        return {type(value).__name__: value.model_dump(mode="json", exclude_defaults=True)}
    return to_jsonable_python(value)


def test_the_keys_of_the_digits_are_the_ones_that_stores_hold():
    assert keys_of(load_job(DIGITS)) == PINNED


def test_a_field_that_every_declaration_gets_later_moves_no_key():
    done = subprocess.run([sys.executable, "-c", ADDED, DIGITS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    same, said = (line.split() for line in done.stdout.splitlines())
    assert same == list(PINNED.values())
    assert [a == b for a, b in zip(same, said, strict=True)] == [True, True, True, False, False, False]


@pytest.mark.parametrize("kind", all_declarations(), ids=lambda kind: kind.__name__)
def test_no_default_changes_unless_the_version_of_its_declaration_does(kind):
    pinned, now = json.loads(DEFAULTS.read_text()).get(kind.__name__), described(kind)
    assert pinned is not None, "a new declaration: python tests/unit/pipeline/test_keys.py pins its defaults"
    assert pinned == now, (
        "raise `version` where a default changed; then python tests/unit/pipeline/test_keys.py pins them"
    )


def test_a_field_at_its_default_counts_the_same_said_or_not():
    said = Sample(num_samples=1, sampler=Sampler(**Sampler().model_dump()), unit_size=128)
    assert keys_of(_job(said)) == keys_of(_job(Sample(num_samples=1)))


@pytest.mark.parametrize("kind", [Sample, Sampler])
def test_a_raised_version_moves_the_keys_of_what_holds_it_said_or_not(monkeypatch, kind):
    before = keys_of(load_job(DIGITS))
    monkeypatch.setattr(kind, "version", kind.version + 1)
    after = keys_of(load_job(DIGITS))
    assert {name for name in before if before[name] != after[name]} == {"sample", "evaluate"}


@pytest.mark.parametrize("name", PINNED)
def test_fields_that_may_change_under_way_move_no_key(name):
    job = load_job(DIGITS)
    stage = job.stages[name]
    marked = [field for field, info in type(stage).model_fields.items() if NOT_IN_KEY in info.metadata]
    assert "seed" in marked
    changed = stage.model_copy(update={field: 7 for field in marked if field != "seed"})
    after = keys_of(job.model_copy(update={"stages": {**job.stages, name: changed}}))
    assert after == keys_of(job)


def test_the_tag_of_a_source_counts_though_it_is_its_default(tmp_path):
    made = [
        Pack(source=source, image_size=8)
        for source in (
            SklearnDigits(),
            declarations.ImageFolder(uri=str(tmp_path)),
            declarations.ParquetTable(uri=str(tmp_path)),
            declarations.WebDatasetShards(uri=str(tmp_path)),
        )
    ]
    assert len({keys_of(Job(name="x", stages={"pack": pack}))["pack"] for pack in made}) == len(made)


def _job(sample: Sample) -> Job:
    digits = load_job(DIGITS)
    return Job(name="digits", stages={**digits.stages, "sample": sample})


if __name__ == "__main__":
    table = {kind.__name__: described(kind) for kind in all_declarations()}
    DEFAULTS.write_text(json.dumps(dict(sorted(table.items())), indent=1) + "\n")
