"""Parents are named relative to their child, found wherever the store lies, and never taken for another's."""

import shutil

import pytest
from command import DIGITS
from filled import done

from rayograph.commands.artifact_listing import list_artifacts
from rayograph.commands.verification import verify
from rayograph.config import Scale
from rayograph.config.reading.files import load_job
from rayograph.errors import DataError
from rayograph.pipeline.resolve import resolve
from rayograph.runs.artifact import Artifact
from rayograph.runs.lineage import address, ancestors, find, place_in_store
from rayograph.runs.stage_result import StageResult, commit
from rayograph.storage import open_store

CHAIN = ("pack", "train_autoencoder", "encode", "train_diffusion", "sample")
KEY = "0123456789abcdef"


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def stages(store):
    found = resolve(load_job(DIGITS), Scale(), store)
    for name in CHAIN:
        commit(found[name], StageResult(files=[found[name].artifact.write("model/x", name.encode())]), 0.0)
    return found


def moved(store, folder):
    """The store under another name, with the first one gone."""
    return open_store(str(shutil.move(store.uri, folder)))


@pytest.mark.parametrize("root", ["/a/store", "s3://bucket", "s3://bucket/deep/prefix"])
def test_a_parent_in_the_same_store_has_an_address_that_names_no_place(root):
    store = open_store(root)
    child, parent = Artifact(store, f"digits/encode/{KEY}"), Artifact(store, f"digits/pack/{KEY}")
    assert address(child, parent) == f"../../pack/{KEY}"
    assert address(child, Artifact(open_store(parent.uri), "")) == f"../../pack/{KEY}"
    assert address(child, Artifact(store, f"other/pack/{KEY}")) == f"../../../other/pack/{KEY}"
    for place in (child, Artifact(open_store(child.uri), "")):
        assert find(place, f"../../pack/{KEY}", "", None).uri == parent.uri
        assert find(place, f"../../../other/pack/{KEY}", "", None).uri == store.uri_of(f"other/pack/{KEY}")


@pytest.mark.parametrize("elsewhere", ["/a/store-2/digits/pack/x", "s3://another/pack", "/a/store"])
def test_a_parent_elsewhere_keeps_its_uri(elsewhere):
    child, parent = Artifact(open_store("/a/store"), f"digits/encode/{KEY}"), Artifact(open_store(elsewhere), "")
    assert address(child, parent) == parent.uri
    assert find(child, parent.uri, "", None).uri == parent.uri


@pytest.mark.parametrize("address", ["../../../../../../x", "..", "../..", "../../a/../b", "../..//x", "../../"])
def test_an_address_that_leads_out_of_everything_is_refused(address):
    for child in (
        Artifact(open_store("s3://bucket"), f"digits/encode/{KEY}"),
        Artifact(open_store("s3://b/a/b/c"), ""),
    ):
        with pytest.raises(DataError, match="expected parents within its store, got '"):
            find(child, f"../{address}", "", None)


def test_places_are_told_by_their_key():
    assert place_in_store(f"s3://b/p/digits/pack/{KEY}") == f"digits/pack/{KEY}"
    assert place_in_store(f"/digits/pack/{KEY}/") == f"digits/pack/{KEY}"
    assert place_in_store("/a/digits/pack/latest") is None
    assert place_in_store(KEY) is None


def test_manifests_hold_no_place_of_their_store(store, stages):
    for name in CHAIN:
        assert store.uri not in "".join(parent.uri for parent in stages[name].artifact.committed().parents)


def test_a_moved_store_has_its_whole_lineage_and_nothing_of_it_runs_again(store, stages, tmp_path):
    before = [node.manifest.digest for node in ancestors(stages["sample"].artifact, None)]
    copy = moved(store, tmp_path / "elsewhere")
    found = ancestors(Artifact(copy, stages["sample"].artifact.path), None)
    assert [node.manifest.digest for node in found] == before
    assert all(node.uri.startswith(f"{copy.uri}/") for node in found)
    by_itself = Artifact(open_store(copy.uri_of(stages["sample"].artifact.path)), "")
    assert [node.manifest.digest for node in ancestors(by_itself, None)] == before
    again = resolve(load_job(DIGITS), Scale(), copy)
    assert all(again[name].artifact.manifest() is not None for name in CHAIN)
    assert len(list(verify(copy))) == len(CHAIN)
    assert not any(str(store.uri) in line.replace(copy.uri, "") for line in list_artifacts(copy))


def with_absolute_parents(stages):
    """As older versions wrote them."""
    for name in CHAIN:
        artifact = stages[name].artifact
        manifest = artifact.committed()
        parents = [
            parent.model_copy(update={"uri": stages[parent_name].artifact.uri})
            for parent in manifest.parents
            for parent_name in [parent.uri.split("/")[-2]]
        ]
        artifact.write("manifest.json", manifest.model_copy(update={"parents": parents}).model_dump_json().encode())


def test_older_manifests_name_a_place_that_is_gone_and_their_parents_are_found(store, stages, tmp_path):
    with_absolute_parents(stages)
    assert stages["encode"].artifact.committed().parents[0].uri == stages["pack"].artifact.uri
    copy = moved(store, tmp_path / "elsewhere")
    found = ancestors(Artifact(copy, stages["sample"].artifact.path), None)
    assert len(found) == len(CHAIN)
    assert all(node.uri.startswith(f"{copy.uri}/") for node in found)
    assert len(list(verify(copy))) == len(CHAIN)


def test_an_older_copy_whose_own_parent_was_replaced_finds_the_one_that_it_was_made_from(store, stages, tmp_path):
    with_absolute_parents(stages)
    copy = open_store(str(shutil.copytree(store.uri, tmp_path / "elsewhere")))
    packed = Artifact(copy, stages["pack"].artifact.path)
    another = packed.committed().model_copy(update={"key": "f" * 16})
    packed.write("manifest.json", another.model_dump_json().encode())
    (parent, *_) = stages["encode"].artifact.committed().parents
    found = find(Artifact(copy, stages["encode"].artifact.path), parent.uri, parent.digest, None)
    assert found.uri == stages["pack"].artifact.uri


def test_verifying_names_a_parent_that_was_replaced_and_one_that_is_missing(store, stages):
    packed, trained = stages["pack"].artifact, stages["train_autoencoder"].artifact
    another = packed.committed().model_copy(update={"key": "f" * 16})
    packed.write("manifest.json", another.model_dump_json().encode())
    for info in list(store.list(f"{trained.path}/")):
        store.delete(info.key)
    with pytest.raises(DataError) as caught:
        list(verify(store))
    problems = str(caught.value).split("; ")
    held = stages["encode"].artifact.uri
    assert any(
        line.startswith(f"{held}: images was made from ../../pack/") and another.digest[:12] in line
        for line in problems
    )
    assert any(line.startswith(f"{held}: autoencoder was made from") and "missing" in line for line in problems)
    assert len(problems) == 3  # the diffusion training had the missing autoencoder too


def test_verifying_names_files_that_nobody_lists_and_knows_what_stages_keep(store, stages):
    trained = stages["train_diffusion"].artifact
    for name in ("checkpoints/000000000064/checkpoint.json", "samples/a", "previews/1.png", "job.yaml"):
        trained.write(name, b"x")
    stages["sample"].artifact.write("dead/samples-000000.json", b"x")
    assert len(list(verify(store))) == len(CHAIN)
    stages["pack"].artifact.write("shards/train-000007.tar", b"x")
    store.put(f"lost/pack/{KEY}/shards/train-000000.tar", b"x")
    *whole, named = verify(store)
    assert len(whole) == len(CHAIN)
    assert f"not listed by any manifest: {stages['pack'].artifact.path}/shards/train-000007.tar, lost/pack" in named
    trained.write("model/unet/more.safetensors", b"x")
    with pytest.raises(DataError, match=r"model/unet/more\.safetensors: not among the files that manifest\.json lists"):
        list(verify(store))


def test_a_job_that_names_an_artifact_of_a_store_that_was_moved_finds_it_by_its_key(store, stages, tmp_path, caplog):
    uri = stages["train_diffusion"].artifact.uri
    job = load_job(DIGITS)
    drawn = job.model_copy(
        update={"stages": {"sample": job.stages["sample"].model_copy(update={"model": uri})}, "name": "more"}
    )
    before = resolve(drawn, Scale(), store)["sample"]
    copy = moved(store, tmp_path / "elsewhere")
    after = resolve(drawn, Scale(), copy)["sample"]
    assert after.artifact.path == before.artifact.path
    assert after.inputs["model"].uri == copy.uri_of(stages["train_diffusion"].artifact.path)
    assert f"{uri}: nothing there" in caplog.text
    assert address(after.artifact, after.inputs["model"]).startswith("../../../digits/train_diffusion/")


def test_deep_verifying_reads_indices_against_their_tars(store):
    stage = resolve(load_job(DIGITS), Scale(), store)["pack"]
    manifest = done(stage)
    assert len(list(verify(store, deep=True))) == 1
    name = "shards/train-000001.index"
    other = stage.artifact.read("shards/train-000000.index")
    files = [f if f.path != name else stage.artifact.write(name, other.replace(b"s0", b"s9")) for f in manifest.files]
    stage.artifact.write("manifest.json", manifest.model_copy(update={"files": files}).model_dump_json().encode())
    assert len(list(verify(store))) == 1
    with pytest.raises(DataError, match=r"train-000001\.tar: its index names sample 's9', which it does not hold"):
        list(verify(store, deep=True))
