"""`rayograph index`, with the work done in this process: what it finds, refuses and prints."""

import errno
import io
import os
import signal
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from rayograph.cli import main
from rayograph.commands import index_shards as index
from rayograph.commands.index_shards import index_folder, summary
from rayograph.commands.verification import verify
from rayograph.config import IngestScale, Scale
from rayograph.config.s3_access import S3, S3Access
from rayograph.errors import ConfigError, DataError, StorageError
from rayograph.ingest import streams
from rayograph.ingest.columns import class_of
from rayograph.ingest.indexing import Shard
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import HELD_OUT, Manifest
from rayograph.shards import spot_check
from rayograph.shards.committed import Shards
from rayograph.shards.scan import scan_shard
from rayograph.shards.store import read_index, read_samples
from rayograph.shards.tar import write_shard
from rayograph.storage import open_store
from rayograph.storage.local import LocalFolder

SHARDS, SAMPLES = 20, 6


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch):
    def each(items: Sequence[Shard], work: Callable[[Shard], bytes], scale: IngestScale) -> Iterator[bytes]:
        return map(work, items)

    monkeypatch.setattr(streams, "each", each)
    monkeypatch.setattr(index, "connect", lambda scale: None)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


def foreign_tar(path: Path, names: dict[str, bytes]):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in names.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))


def members(number: int) -> dict[str, bytes]:
    draw = np.random.default_rng(number)
    found = {}
    for row in range(SAMPLES):
        found[f"{number:03}{row:04}.PNG"] = draw.bytes(300)
        found[f"{number:03}{row:04}.cls"] = str((number + row) % 10).encode()
    return found


@pytest.fixture
def folder(tmp_path: Path):
    folder = tmp_path / "laion"
    for number in range(SHARDS):
        foreign_tar(folder / f"part{number % 2}" / f"{number:05}.tar", members(number))
    (folder / "README.txt").write_text("not a shard")
    return folder


def indexed(folder: Path, **changes: object) -> Manifest:
    options = {"held_out": None, "bad_sample_limit": 0, "again": False} | changes
    return index_folder(str(folder), Scale(), **options)  # type: ignore[arg-type]


def sidecars(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """When each was written, and its bytes."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(folder.rglob("*.index"))}


def test_shards_that_changed_are_told_and_indexed_again_when_asked(folder: Path):
    manifest = indexed(folder)
    first = sidecars(folder)
    assert manifest.base_uri is None
    foreign_tar(folder / "new.tar", {"a.png": b"x"})
    (folder / "part0" / "00002.tar").unlink()
    grown = members(4) | {"more.png": b"x" * 9000, "more.cls": b"11"} | {"l.cls": b"1" * 9000}  # no class, and no image
    foreign_tar(folder / "part0" / "00004.tar", grown)
    with pytest.raises(DataError) as error:
        indexed(folder)
    assert str(error.value) == (
        f"{folder}: expected the shards that were indexed at {manifest.created}, got 1 new (new.tar), 1 gone "
        "(part0/00002.tar), 1 of another size (part0/00004.tar): --again makes the manifest anew"
    )
    anew = indexed(folder, again=True, bad_sample_limit=1)
    assert anew.samples == (SHARDS - 2) * SAMPLES + 1 + SAMPLES + 1
    assert anew.facts["class_names"] == []
    assert anew.digest != manifest.digest
    assert indexed(folder) == anew
    second = sidecars(folder)
    kept = first.keys() & second.keys()
    assert {path.stem for path in kept if first[path] != second[path]} == {"00004"}


def test_another_split_is_another_data_set_and_only_made_when_asked(folder: Path):
    manifest = indexed(folder, held_out="part0/*")
    assert indexed(folder, held_out="part0/*") == indexed(folder) == manifest
    with pytest.raises(DataError, match=r"got 20 in another split \(part0/00000\.tar, …\): --again"):
        indexed(folder, held_out="part1/*")
    anew = indexed(folder, held_out="part1/*", again=True)
    assert anew.files == manifest.files
    assert anew.digest != manifest.digest
    assert indexed(folder, again=True).shards == indexed(folder).shards == anew.shards  # the pattern is remembered
    assert indexed(folder, held_out="", again=True).split(HELD_OUT) == []


@pytest.mark.parametrize("pattern", ["nothing", "*"])
def test_a_pattern_that_leaves_a_split_empty_is_refused(folder: Path, pattern: str):
    with pytest.raises(ConfigError, match="expected some of 20 shards to match"):
        indexed(folder, held_out=pattern)


def test_rejected_samples_are_counted_against_the_limit_and_named(folder: Path):
    foreign_tar(folder / "bad.tar", {"a.png": b"", "b.png": b"x", "b.pkl": b"x", "c.png": b"x"})
    with pytest.raises(
        DataError, match=r"bad\.tar: member a\.png: .*\(2 samples rejected so far, --bad-sample-limit 1\)"
    ):
        indexed(folder, bad_sample_limit=1)
    manifest = indexed(folder, bad_sample_limit=2)
    assert [row["key"] for row in manifest.facts["rejected"]] == ["a", "b"]
    assert "2 samples rejected, named in manifest.json; the first: " in summary("here", manifest)[1]


def test_a_shard_that_cannot_be_read_is_the_error_of_the_command(folder: Path):
    (folder / "part0" / "00006.tar").write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.raises(DataError, match=r"part0/00006\.tar: expected a plain tar, got one compressed by gzip"):
        indexed(folder)
    assert not (folder / "manifest.json").exists()


def test_a_shard_without_samples_is_no_shard_to_draw_from(folder: Path):
    foreign_tar(folder / "empty.tar", {"README": b"nothing here"})
    manifest = indexed(folder)
    assert len(manifest.shards) == SHARDS
    assert "empty.tar" in {file.path for file in manifest.files}
    assert indexed(folder) == manifest


def test_sidecars_that_pack_wrote_do_as_well(tmp_path: Path):
    from rayograph.shards.sample import Sample

    samples = [Sample(f"s{row}", {"png": b"x" * 300, "cls": str(row % 4).encode()}) for row in range(30)]
    data, made = write_shard(samples, {"rejected": []})
    artifact = Artifact(open_store(str(tmp_path)), "")
    artifact.write("a.tar", data)
    artifact.write("a.index", made.to_bytes())
    manifest = indexed(tmp_path)
    assert manifest.facts["class_names"] == ["0", "1", "2", "3"]
    assert artifact.read("a.index") == made.to_bytes()


def test_a_sidecar_that_judged_no_classes_is_made_anew_where_one_is_none(tmp_path: Path):
    foreign_tar(tmp_path / "a.tar", {"0.png": b"x", "0.cls": b"-1", "1.png": b"x", "1.cls": b"3"})
    store = open_store(str(tmp_path))
    store.put("a.index", scan_shard(store, "a.tar").to_bytes())
    assert [row["key"] for row in indexed(tmp_path, bad_sample_limit=1).facts["rejected"]] == ["0"]


def test_what_cannot_be_indexed_is_refused(tmp_path: Path, folder: Path):
    (tmp_path / "zipped").mkdir()
    (tmp_path / "zipped" / "a.tar.gz").write_bytes(b"x")
    with pytest.raises(DataError, match=r"expected shards \(\*\.tar\), found none but 1 compressed ones"):
        indexed(tmp_path / "zipped")
    with pytest.raises(DataError, match=r"found none$"):
        indexed(tmp_path / "nowhere")
    manifest = indexed(folder)
    (folder / "manifest.json").write_text(manifest.model_copy(update={"stage": "pack", "job": "j"}).model_dump_json())
    with pytest.raises(DataError, match="expected a folder of shards, found pack of the job j"):
        indexed(folder, again=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
        with pytest.raises(StorageError, match="expected an absolute path or a URI inside a submitted job"):
            indexed(Path("relative"))


def test_names_of_classes_are_numbered_sorted_and_numbers_name_themselves(folder: Path, tmp_path: Path):
    assert indexed(folder).facts["class_names"] == [str(number) for number in range(10)]
    named = tmp_path / "named"
    for shard, names in enumerate((["dog", "cat"], ["ape ", "cat"])):
        rows = {f"{shard}{row}.png": b"x" for row in range(2)}
        labels = {f"{shard}{row}.cls": name.encode() for row, name in enumerate(names)}
        foreign_tar(named / f"{shard}.tar", dict(sorted((rows | labels).items())))
    manifest = indexed(named)
    assert (manifest.facts["class_names"], manifest.facts["classes"]) == (["ape", "cat", "dog"], "name")
    shards = Shards.of(Artifact(open_store(str(named)), ""), manifest, manifest.shards, None)
    classes = []
    for name in shards.names:
        found = shards.index(name)
        classes += [class_of(sample) for sample in shards.rows(name, found, range(len(found))).samples()]
    assert classes == [2, 1, 0, 1]
    assert "3 classes by name: ape, cat, dog" in summary("here", manifest)


def test_classes_that_are_names_here_and_numbers_there_are_refused_in_one_line(tmp_path: Path):
    foreign_tar(tmp_path / "a.tar", {"0.png": b"x", "0.cls": b"cat"})
    foreign_tar(tmp_path / "b.tar", {"1.png": b"x", "1.cls": b"7"})
    with pytest.raises(DataError, match=r"a\.tar: expected classes .* got 'cat' here and 7 in .*b\.tar$"):
        indexed(tmp_path)


def test_where_some_samples_have_no_class_there_are_none_and_that_is_said(tmp_path: Path):
    foreign_tar(tmp_path / "a.tar", {"0.png": b"x", "0.cls": b"cat", "1.png": b"x"})
    manifest = indexed(tmp_path)
    assert (manifest.facts["class_names"], manifest.facts["classes"]) == ([], "none")
    assert "no classes: 1 of 2 samples have none" in summary("here", manifest)
    shards = Shards.of(Artifact(open_store(str(tmp_path)), ""), manifest, manifest.shards, None)
    assert set(shards.index("a.tar").members) == {"png"}
    assert set(shards.as_written().index("a.tar").members) == {"png", "cls"}


@pytest.mark.parametrize("label", [b"-1", b"9" * 30, b"1.5", b"\xff\xfe", b"two\nlines", b"x" * 300, b" "])
def test_a_class_that_is_neither_a_number_nor_a_name_rejects_its_sample(tmp_path: Path, label: bytes):
    foreign_tar(tmp_path / "a.tar", {"0.png": b"x", "0.cls": label, "1.png": b"x", "1.cls": b"3"})
    with pytest.raises(DataError, match=r"a\.tar: sample 0: expected a class"):
        indexed(tmp_path)
    assert indexed(tmp_path, bad_sample_limit=1).facts["class_names"] == ["0", "1", "2", "3"]


def test_samples_without_an_image_are_told_with_the_reason(tmp_path: Path):
    """Of the kind of dots-in-keys.tar (webdataset 237)."""
    torn = {name: b"x" for number in (1, 2) for name in (f"img_{number}.5.jpg", f"img_{number}.5.txt")}
    foreign_tar(tmp_path / "a.tar", torn | {"sound.jpg": b"x", "lone.txt": b"x"})
    with pytest.raises(DataError) as error:
        indexed(tmp_path, bad_sample_limit=2)
    reason = "sample img_1: expected an image (jpeg, jpg, png, webp), got .5.jpg, .5.txt: a key ends at the first dot"
    assert reason.partition(" (")[0] in str(error.value)
    assert ", got .5.jpg, .5.txt: a key ends at the first dot of its name" in str(error.value)
    assert "(3 samples rejected so far, --bad-sample-limit 2)" in str(error.value)
    manifest = indexed(tmp_path, bad_sample_limit=3)
    assert manifest.samples == 1
    assert [row["key"] for row in manifest.facts["rejected"]] == ["img_1", "img_2", "lone"]


def test_what_belongs_to_no_sample_is_counted_and_hidden_tars_are_no_shards(folder: Path):
    more = {"./._a.png": b"x", "__MACOSX/b.png": b"x", "LICENSE": b"x", "./0.png": b"x", "./0.cls": b"1"}
    foreign_tar(folder / "more.tar", more)
    for name in ("._00000.tar", "__MACOSX/00000.tar", ".ipynb_checkpoints/a.tar"):
        foreign_tar(folder / name, {"a.png": b"x"})
    manifest = indexed(folder)
    assert len(manifest.shards) == SHARDS + 1
    assert manifest.facts["passed_over"] == {"hidden": 2, "hidden tars": 3, "no extension": 1}
    assert "passed over: hidden 2, hidden tars 3, no extension 1" in summary("here", manifest)


def test_an_empty_caption_is_a_caption(tmp_path: Path):
    foreign_tar(tmp_path / "a.tar", {"0.png": b"x", "0.txt": b""})
    indexed(tmp_path)
    artifact = Artifact(open_store(str(tmp_path)), "")
    (sample,) = read_samples(artifact, "a.tar", read_index(artifact, "a.tar"), [0])
    assert sample.members["txt"] == b""


def test_a_tar_replaced_by_one_of_the_same_size_is_found(folder: Path):
    first = indexed(folder)
    path = folder / "part0" / "00002.tar"
    foreign_tar(path, members(2) | {"0020003.PNG": bytes(300)})  # one member of one sample
    with pytest.raises(DataError, match=r"part0/00002\.tar: .* got another of the same size: --again makes"):
        indexed(folder)
    anew = indexed(folder, again=True)
    assert anew.digest != first.digest
    assert indexed(folder) == anew


def test_a_large_tar_replaced_by_one_of_the_same_size_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spot_check, "WHOLE_BYTES", 0)
    draw = np.random.default_rng(0)
    contents = {f"{row:04}.png": draw.bytes(500) for row in range(40)}
    foreign_tar(tmp_path / "a.tar", contents)
    manifest = indexed(tmp_path)
    assert indexed(tmp_path) == manifest
    renamed = {f"{row + 1:04}.png": data for row, data in enumerate(contents.values())}
    for other in ({name: draw.bytes(500) for name in contents}, renamed):
        foreign_tar(tmp_path / "a.tar", other)
        with pytest.raises(DataError, match="got another of the same size"):
            indexed(tmp_path)


def test_an_interrupted_index_goes_on_with_the_sidecars_that_still_hold(folder: Path):
    indexed(folder)
    (folder / "manifest.json").unlink()
    before = sidecars(folder)
    foreign_tar(folder / "part0" / "00002.tar", members(2) | {"0020003.PNG": bytes(300)})
    indexed(folder)
    after = sidecars(folder)
    assert {path.stem for path in before if before[path] != after[path]} == {"00002"}


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "other"])
def test_a_damaged_sidecar_is_one_line_that_names_it_and_made_anew_when_asked(folder: Path, damage: str):
    indexed(folder)
    path = folder / "part1" / "00003.index"
    sound = path.read_bytes()
    flipped = sound[:20] + bytes([sound[20] ^ 4]) + sound[21:]
    path.write_bytes({"cut": sound[:-9], "flipped": flipped, "emptied": b"", "other": b"x" * 5000}[damage])
    with pytest.raises(DataError, match=r"part1/00003\.index: sha256 differs from the manifest's"):
        indexed(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"part1/00003\.index: not a shard's index: .*: --again makes it anew"):
        indexed(folder)
    indexed(folder, again=True)
    assert path.read_bytes() == sound


def test_readers_refuse_an_index_that_is_not_the_manifests_and_a_tar_of_another_size(folder: Path):
    manifest = indexed(folder)
    artifact = Artifact(open_store(str(folder)), "")
    shards = Shards.of(artifact, manifest, manifest.shards, None)
    foreign = (folder / "part0" / "00000.index").read_bytes()
    (folder / "part0" / "00002.index").write_bytes(foreign)
    with pytest.raises(DataError, match=r"part0/00002\.index: sha256 differs from the manifest's"):
        shards.index("part0/00002.tar")
    (folder / "part0" / "00002.index").unlink()
    with pytest.raises(DataError, match=r"part0/00002\.index: expected the index that the manifest lists, found none"):
        shards.index("part0/00002.tar")
    with (folder / "part0" / "00000.tar").open("ab") as tar:
        tar.write(bytes(512))
    with pytest.raises(DataError, match=r"part0/00000\.tar: expected 20,480 bytes, as when it was indexed, got 20,992"):
        Shards.of(artifact, manifest, manifest.shards, None)


def test_an_index_that_a_network_spoilt_once_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch):
    manifest = indexed(folder)
    shards = Shards.of(Artifact(open_store(str(folder)), ""), manifest, manifest.shards, None)
    read, asked = LocalFolder.read, []

    def spoilt(self: LocalFolder, key: str) -> bytes:
        asked.append(key)
        data = read(self, key)
        return data[:-1] if len(asked) == 1 else data

    monkeypatch.setattr(LocalFolder, "read", spoilt)
    assert len(shards.index("part1/00019.tar")) == SAMPLES
    assert asked == ["part1/00019.index"] * 2


def test_a_place_that_is_only_read_is_indexed_elsewhere(folder: Path, tmp_path: Path, capsys):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    to = tmp_path / "index"
    lines = said(capsys, 0, folder, "--to", to, "--held-out", "part1/*")
    assert lines[-1] == str(to)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    artifact = Artifact(open_store(str(to)), "")
    manifest = artifact.committed()
    assert manifest.base_uri == str(folder)
    assert not [name for name in artifact.names() if name.endswith(".tar")]
    assert said(capsys, 0, folder, "--to", to) == lines
    assert manifest.digest == indexed(folder, held_out="part1/*").digest
    shards = Shards.of(artifact, manifest, manifest.split(HELD_OUT), None)
    found = shards.index("part1/00001.tar")
    (sample,) = shards.rows("part1/00001.tar", found, [2]).samples()
    assert sample.members["cls"] == b"3"
    (line,) = verify(open_store(str(to)))
    assert "whole: 40 files" in line
    data = bytearray((folder / "part1" / "00001.tar").read_bytes())
    data[600] ^= 1
    (folder / "part1" / "00001.tar").write_bytes(data)
    with pytest.raises(DataError, match=rf"{folder}/part1/00001\.tar: sha256 differs from the manifest's"):
        list(verify(open_store(str(to))))
    with pytest.raises(DataError, match="expected an index of shards beside it, found one of shards"):
        indexed(to)


def test_an_unsigned_bucket_is_indexed_into_a_folder(folder: Path, tmp_path: Path, moto_s3):
    uri = moto_s3.new_bucket()
    bucket = uri.removeprefix("s3://")
    moto_s3._client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    for path in folder.rglob("0000?.tar"):
        moto_s3._client.put_object(Bucket=bucket, Key=f"p/{path.name}", Body=path.read_bytes(), ACL="public-read")
    scale = Scale(endpoint_url=moto_s3.endpoint_url, s3=S3(buckets={bucket: S3Access(unsigned=True)}))
    options = {"held_out": None, "bad_sample_limit": 0, "again": False, "to": str(tmp_path / "index")}
    manifest = index_folder(f"{uri}/p", scale.model_copy(update={"endpoint_url": moto_s3.endpoint_url}), **options)
    assert manifest.samples == 10 * SAMPLES


def said(capsys, code, *arguments):
    """What the command prints: the lines of its output, or the one line of its error."""
    signals = signal.getsignal(signal.SIGTERM)
    try:
        assert main(["index", *map(str, arguments)]) == code
    finally:
        signal.signal(signal.SIGTERM, signals)
    out, err = capsys.readouterr()
    if code == 0:
        return out.splitlines()
    assert (out, err.count("\n")) == ("", 1)
    return err.removeprefix("rayograph: ")


def test_the_command_prints_what_there_is_and_where_and_the_same_at_once_when_it_is_committed(
    capsys, folder, monkeypatch
):
    foreign_tar(folder / "bad.tar", {"a.png": b"", "b.png": b"x", "b.cls": b"1"})
    assert "1 samples rejected so far, --bad-sample-limit 0" in said(capsys, 2, folder)
    size = sum(path.stat().st_size for path in folder.rglob("*.tar"))
    lines = said(capsys, 0, folder, "--bad-sample-limit", 1)
    assert lines[0] == f"21 shards, 121 samples, {size:,} bytes"
    assert lines[1].startswith("1 samples rejected, named in manifest.json; the first: ")
    assert lines[2:] == [str(folder)]

    def refuse(*_):
        raise AssertionError("work was started")

    monkeypatch.setattr(index, "connect", refuse)
    for name in ("put", "put_if_absent", "delete"):
        monkeypatch.setattr(LocalFolder, name, refuse)
    assert said(capsys, 0, folder) == lines


def test_the_command_refuses_in_one_line(capsys, folder, tmp_path, monkeypatch):
    assert "expected shards (*.tar), found none" in said(capsys, 2, tmp_path / "nowhere")
    assert "--held-out x*: expected some of 20 shards to match" in said(capsys, 2, folder, "--held-out", "x*")
    said(capsys, 0, folder)
    (folder / "part0" / "00000.tar").unlink()
    assert "1 gone (part0/00000.tar): --again makes" in said(capsys, 2, folder)
    assert said(capsys, 0, folder, "--again")[0].startswith("19 shards, 114 samples, ")

    @contextmanager
    def read_only(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        yield

    monkeypatch.setattr(LocalFolder, "_unfinished", read_only)
    line = said(capsys, 2, folder, "--again")
    assert line.startswith(str(folder))
    assert line.endswith("put if absent failed (Read-only file system)\n")


def test_the_endpoint_and_the_profile_reach_the_work(capsys, folder, monkeypatch):
    seen = []
    monkeypatch.setattr(index, "connect", seen.append)
    profile = folder / "scale.yaml"
    profile.write_text("ingest: {tasks: 7}\n")
    said(capsys, 0, folder, "--on", profile, "--endpoint-url", "http://a")
    assert (seen[0].ingest.tasks, seen[0].endpoint_url) == (7, "http://a")


def test_a_bucket_is_indexed_as_a_folder_is(folder, moto_s3):
    uri = f"{moto_s3.new_bucket()}/data/laion"
    store = open_store(uri, moto_s3.endpoint_url)
    for path in folder.rglob("*.tar"):
        store.put(str(path.relative_to(folder)), path.read_bytes())
    scale = Scale(endpoint_url=moto_s3.endpoint_url)
    manifest = index_folder(uri, scale, held_out="part1/*", bad_sample_limit=0, again=False)
    assert manifest.job == "laion"
    assert manifest.digest == indexed(folder, held_out="part1/*").digest
    assert index_folder(uri, scale, held_out=None, bad_sample_limit=0, again=False) == manifest
