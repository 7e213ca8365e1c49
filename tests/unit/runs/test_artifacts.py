"""Artifacts: the manifest is the commit, its digest is of content alone, and verifying finds whatever differs."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rayograph.errors import DataError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import canonical_json, digest_of, sha256
from rayograph.runs.environment import machine, versions
from rayograph.runs.manifest import FileRecord, Manifest, Parent, ShardRecord
from rayograph.storage import open_store

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def manifest(**changes):
    return Manifest(
        **{
            "job": "digits",
            "stage": "pack",
            "kind": "pack",
            "key": "k" * 16,
            "seed": 0,
            "config": {"name": "digits"},
            "scale": {"store": "/a"},
            "parents": [
                Parent(input="images", uri="/a/b", digest="d1"),
                Parent(input="model", uri="/a/c", digest="d2"),
            ],
            "files": [
                FileRecord(path="shards/train-0.tar", bytes=3, sha256="aa"),
                FileRecord(path="metrics.jsonl", bytes=2, sha256="bb"),
            ],
            "shards": [
                ShardRecord(path="shards/train-0.tar", split="train", samples=5),
                ShardRecord(path="shards/held_out-0.tar", split="held_out", samples=2),
            ],
            "facts": {"class_names": ["0"]},
            "created": "2026-01-01T00:00:00+00:00",
            "seconds": 1.0,
            "machine": {"cores": 2},
            "versions": {"rayograph": "0"},
        }
        | changes
    )


@pytest.fixture
def artifact(tmp_path):
    return Artifact(open_store(str(tmp_path / "store")), "job/stage/key")


@pytest.fixture
def filled(artifact):
    files = [artifact.write(name, name.encode() * 50) for name in ("shards/a.tar", "model/config.json", "é ü.txt")]
    return artifact, artifact.commit(manifest(files=files, shards=[]))


@pytest.mark.parametrize(
    "changes",
    [
        {"created": "2027-05-05T00:00:00+00:00"},
        {"seconds": 99.0},
        {"machine": {"cores": 64}},
        {"versions": {"rayograph": "9"}},
        {"scale": {"store": "s3://b"}},
        {"files": manifest().files[::-1]},
        {"files": [manifest().files[0], FileRecord(path="metrics.jsonl", bytes=9, sha256="zz")]},
        {"parents": manifest().parents[::-1]},
        {"parents": [Parent(input=p.input, uri=f"s3://b{p.uri}", digest=p.digest) for p in manifest().parents]},
    ],
)
def test_the_digest_does_not_depend_on_when_where_or_in_which_order_it_was_made(changes):
    assert manifest(**changes) != manifest()
    assert manifest(**changes).digest == manifest().digest


@pytest.mark.parametrize(
    "path", ["metrics.jsonl", "report.html", "bad_samples.txt", "previews/000000000064.png", "packed/000000.json"]
)
def test_files_that_hold_times_and_places_are_listed_but_not_in_the_digest(path):
    listed = manifest(files=[*manifest().files, FileRecord(path=path, bytes=1, sha256="cc")])
    assert listed.digest == manifest().digest


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "l" * 16},
        {"files": [FileRecord(path="shards/train-0.tar", bytes=3, sha256="ab"), manifest().files[1]]},
        {"files": [FileRecord(path="shards/train-1.tar", bytes=3, sha256="aa"), manifest().files[1]]},
        {"files": [*manifest().files, FileRecord(path="report.json", bytes=1, sha256="cc")]},
        {"files": []},
        {"parents": manifest().parents[:1]},
        {"parents": [Parent(input="images", uri="/a/b", digest="d3"), manifest().parents[1]]},
    ],
)
def test_the_digest_changes_with_the_content_and_with_what_it_was_made_from(changes):
    assert manifest(**changes).digest != manifest().digest


def test_a_manifest_comes_back_from_its_json_and_is_closed_and_frozen():
    again = Manifest.model_validate_json(manifest().model_dump_json(indent=1))
    assert again == manifest()
    with pytest.raises(ValidationError, match="frozen"):
        again.seed = 1
    with pytest.raises(ValidationError, match="extra_forbidden"):
        manifest(note="hello")


def test_samples_bytes_and_splits_are_summed_over_shards_and_files():
    assert (manifest().samples, manifest().total_bytes) == (7, 5)
    assert manifest().split("train") == [manifest().shards[0]]
    assert manifest().split("none") == []


@given(JSON)
def test_canonical_json_does_not_depend_on_the_order_of_keys(value):
    def reordered(item):
        if isinstance(item, dict):
            return {key: reordered(inner) for key, inner in reversed(item.items())}
        return [reordered(inner) for inner in item] if isinstance(item, list) else item

    assert canonical_json(reordered(value)) == canonical_json(value)
    assert digest_of(value) == sha256(canonical_json(value))


@pytest.mark.parametrize("value", [float("nan"), {"a": float("inf")}])
def test_what_json_cannot_say_has_no_digest(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest_of(value)


def test_nothing_is_committed_before_the_manifest_is_there(artifact):
    artifact.write("shards/a.tar", b"half a day's work")
    assert artifact.manifest() is None
    with pytest.raises(DataError, match=r"expected a committed artifact, found no manifest\.json"):
        artifact.committed()
    artifact.commit(manifest())
    assert artifact.manifest() == artifact.committed() == manifest()


def test_a_second_commit_changes_nothing_and_returns_the_first(artifact):
    first, second = manifest(seconds=1.0), manifest(seconds=2.0)
    assert artifact.commit(first) == first
    assert artifact.commit(second) == first
    assert artifact.committed() == first


def test_of_commits_that_race_one_stands_and_all_learn_which(artifact):
    racers = [manifest(seconds=float(number)) for number in range(8)]
    start = Barrier(len(racers))

    def race(mine):
        start.wait()
        return artifact.commit(mine)

    with ThreadPoolExecutor(len(racers)) as pool:
        returned = list(pool.map(race, racers))
    assert artifact.committed() in racers
    assert returned == [artifact.committed()] * len(racers)


@pytest.mark.parametrize("data", [b"", b"{", b"{}", b"[]", b"\xff", b'{"format": 2}'])
def test_a_damaged_manifest_is_refused_with_its_place(artifact, data):
    artifact.write("manifest.json", data)
    with pytest.raises(DataError, match=r"job/stage/key/manifest\.json: not a manifest of format 1"):
        artifact.manifest()


def test_files_are_named_relative_to_the_artifact_wherever_it_lies(tmp_path):
    names = ["a.txt", "b/c.txt", "b/d.txt"]
    for path in ("", "job/stage/key"):
        artifact = Artifact(open_store(str(tmp_path / f"store{len(path)}")), path)
        records = [artifact.write(name, name.encode()) for name in names]
        assert artifact.names() == names
        assert artifact.names("b/") == names[1:]
        assert artifact.records("") == records
        assert artifact.read("b/c.txt") == b"b/c.txt"
        assert artifact.uri.startswith(str(tmp_path))


def test_an_artifact_has_one_address_from_its_store_and_from_its_own_folder(tmp_path):
    below = Artifact(open_store(str(tmp_path)), "job/stage/key")
    assert Artifact(open_store(below.uri), "").uri == below.uri == f"{tmp_path}/job/stage/key"


def test_an_artifact_whose_name_begins_another_ones_does_not_see_its_files(tmp_path):
    store = open_store(str(tmp_path))
    Artifact(store, "job/pack").write("a", b"")
    Artifact(store, "job/pack-more").write("b", b"")
    assert Artifact(store, "job/pack").names() == ["a"]


def test_a_whole_artifact_has_no_problems(filled):
    artifact, committed = filled
    assert list(artifact.problems(committed)) == []


def test_verifying_finds_a_missing_a_resized_and_a_flipped_file_each_by_name(filled):
    artifact, committed = filled
    artifact.store.delete(artifact.key("shards/a.tar"))
    artifact.write("model/config.json", artifact.read("model/config.json")[:-1])
    data = bytearray(artifact.read("é ü.txt"))
    data[17] ^= 1
    artifact.write("é ü.txt", bytes(data))
    missing, resized, flipped = sorted(
        artifact.problems(committed), key=lambda line: ("sha256" in line, "bytes" in line)
    )
    assert missing == f"{artifact.uri}/shards/a.tar: missing"
    assert resized == f"{artifact.uri}/model/config.json: expected 850 bytes, found 849"
    assert flipped == f"{artifact.uri}/é ü.txt: sha256 differs from the manifest's"


def test_verifying_finds_a_shard_that_is_not_among_the_files(filled):
    artifact, committed = filled
    lost = committed.model_copy(update={"shards": [ShardRecord(path="shards/b.tar", split="train", samples=1)]})
    assert list(artifact.problems(lost)) == [f"{artifact.uri}: shard shards/b.tar is not among the files"]


def test_files_beyond_the_manifest_are_no_problem(filled):
    artifact, committed = filled
    artifact.write("notes.txt", b"mine")
    assert list(artifact.problems(committed)) == []


def test_the_record_of_machine_and_versions_fits_into_a_manifest():
    assert versions()["rayograph"]
    assert {"python", "torch", "ray"} <= versions().keys()
    made = manifest(machine=machine(), versions=versions())
    assert Manifest.model_validate_json(made.model_dump_json()) == made
