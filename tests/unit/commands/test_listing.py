"""`ls` and `verify`: what a store holds, how far it is, whether it is whole."""

import pytest
from command import DIGITS
from filled import begin, done, fill

from rayograph.commands.artifact_listing import list_artifacts
from rayograph.commands.verification import verify
from rayograph.config import Scale
from rayograph.config.reading.files import load_job
from rayograph.errors import DataError
from rayograph.pipeline.resolve import resolve
from rayograph.runs.artifact import RESOLVED
from rayograph.storage import open_store


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def stages(store):
    return resolve(load_job(DIGITS), Scale(), store)


def test_a_committed_artifact_is_listed_with_samples_bytes_and_parents(store, stages):
    packed, trained = done(stages["pack"]), done(stages["train_autoencoder"])
    lines = list(list_artifacts(store))
    assert len(lines) == 3
    assert lines[0].startswith(f"{stages['pack'].artifact.path}  committed {packed.created}  6 samples in 2 shards")
    assert f"{packed.total_bytes:,} bytes" in lines[0]
    assert trained.digest[:12] in lines[1]
    parent = f"images ← {stages['pack'].artifact.uri} digest {packed.digest[:12]}"
    assert lines[2].split() == parent.split()


def test_a_stage_in_progress_is_listed_with_its_shards(store, stages):
    fill(stages["pack"], shards=3)
    assert list(list_artifacts(store)) == [f"{stages['pack'].artifact.path}  in progress: 3 shards"]


@pytest.mark.parametrize("saved", [[], [640], [640, 12_800, 6_400]])
def test_a_training_in_progress_is_listed_with_its_last_whole_checkpoint(store, stages, saved):
    stage = stages["train_autoencoder"]
    begin(stage)
    for images in saved:
        stage.artifact.write(f"checkpoints/{images:012d}/checkpoint.json", b"{}")
    stage.artifact.write("checkpoints/000000999999/weights.safetensors", b"torn")
    (line,) = list_artifacts(store)
    total = stage.declared.total_images
    assert line.endswith(f"in progress: checkpoint at {max(saved, default=0):,} of {total:,} images")


def test_any_folder_may_be_listed_from_the_stores_root_to_the_artifact_itself(store, stages):
    for name in ("pack", "train_autoencoder"):
        done(stages[name])
    artifact = stages["pack"].artifact
    assert len(list(list_artifacts(open_store(f"{store.uri}/digits")))) == 3
    assert len(list(list_artifacts(open_store(f"{store.uri}/digits/pack")))) == 1
    (line,) = list_artifacts(open_store(artifact.uri))
    assert line.startswith(f"{artifact.uri}  committed")


@pytest.mark.parametrize("look", [list_artifacts, verify])
def test_a_place_without_artifacts_is_refused_by_name(tmp_path, look):
    (tmp_path / "notes.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match=f"{place}: expected .*, found none"):
            list(look(open_store(str(place))))


def test_whole_artifacts_are_verified_a_line_each(store, stages):
    for name in ("pack", "train_autoencoder"):
        done(stages[name])
    lines = list(verify(store))
    assert [line.split()[0] for line in lines] == [stages[n].artifact.path for n in ("pack", "train_autoencoder")]
    assert all("whole: 4 files" in line and "6 samples" in line for line in lines)


def test_verifying_names_every_problem_of_every_artifact_and_still_shows_the_whole_ones(store, stages):
    for name in ("pack", "train_autoencoder", "encode"):
        done(stages[name])
    first, second = stages["pack"].artifact, stages["encode"].artifact
    first.store.delete(first.key("shards/train-000001.tar"))
    data = bytearray(second.read("shards/train-000000.tar"))
    data[600] ^= 1
    second.write("shards/train-000000.tar", bytes(data))
    lines = verify(store)
    assert stages["train_autoencoder"].artifact.path in next(lines)
    with pytest.raises(DataError) as caught:
        next(lines)
    problems = str(caught.value).split("; ")
    assert len(problems) == 2
    assert f"{first.uri}/shards/train-000001.tar: missing" in problems
    assert f"{second.uri}/shards/train-000000.tar: sha256 differs from the manifest's" in problems


def test_work_in_progress_is_not_verified(store, stages):
    done(stages["pack"])
    fill(stages["train_autoencoder"])
    assert len(list(verify(store))) == 1


SPOILT = {
    "no YAML": b"\x00[",
    "not UTF-8": b"\xff\xfe\xfd",
    "a list": b"- 1\n",
    "another stage": b"stage: x\njob: {name: a, stages: {}}\nscale: {}\n",
    "nested beyond reading": b"[" * 100_000,
    "a field of another version": b"stage: pack\nscale: {}\njob: {name: a, field_of_tomorrow: 1, stages: {}}\n",
}


@pytest.mark.parametrize("data", SPOILT.values(), ids=SPOILT)
def test_a_job_file_that_cannot_be_read_is_named_and_hides_no_other(store, stages, data):
    done(stages["pack"])
    done(stages["train_autoencoder"])
    begin(stages["encode"])
    stages["pack"].artifact.store.delete(stages["pack"].artifact.key("manifest.json"))
    stages["pack"].artifact.write(RESOLVED, data)
    lines = {line.partition("  ")[0]: line.partition("  ")[2] for line in list_artifacts(store) if line[0] != " "}
    told = {name: lines[stages[name].artifact.path] for name in ("pack", "train_autoencoder", "encode")}
    assert told["pack"].startswith(f"cannot be read: {stages['pack'].artifact.uri}/{RESOLVED}: not a")
    assert "\n" not in told["pack"]
    assert told["train_autoencoder"].startswith("committed")
    assert told["encode"].startswith("in progress")


@pytest.mark.parametrize("data", [b"", b"{", b'{"format": 2}', b"\xff", b"[" * 100_000])
def test_a_manifest_that_cannot_be_read_is_a_line_and_a_problem_and_hides_no_other(store, stages, data):
    done(stages["pack"])
    begin(stages["encode"])
    stages["encode"].artifact.write("manifest.json", data)
    whole, spoilt = sorted(list_artifacts(store), key=lambda line: "digits/encode" in line)
    assert "committed" in whole
    assert spoilt.startswith(f"{stages['encode'].artifact.path}  cannot be read: ")
    found = verify(store)
    assert "whole" in next(found)
    with pytest.raises(DataError, match=rf"{stages['encode'].artifact.uri}/manifest\.json: "):
        next(found)
