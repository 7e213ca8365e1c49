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
from rayograph.config import IngestScale, Scale
from rayograph.errors import ConfigError, DataError, StorageError
from rayograph.ingest import streams
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import HELD_OUT, Manifest
from rayograph.shards.tar import write_shard
from rayograph.stages import index
from rayograph.stages.index import Shard, index_folder, summary
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
    foreign_tar(folder / "new.tar", {"a.png": b"x"})
    (folder / "part0" / "00002.tar").unlink()
    grown = members(4) | {"more.png": b"x" * 9000, "more.cls": b"11"} | {"l.cls": b"1" * 9000}
    foreign_tar(folder / "part0" / "00004.tar", grown)
    with pytest.raises(DataError) as error:
        indexed(folder)
    assert str(error.value) == (
        f"{folder}: expected the shards that were indexed at {manifest.created}, got 1 new (new.tar), 1 gone "
        "(part0/00002.tar), 1 of another size (part0/00004.tar): --again makes the manifest anew"
    )
    anew = indexed(folder, again=True)
    assert anew.samples == (SHARDS - 2) * SAMPLES + 1 + SAMPLES + 2
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


@pytest.mark.parametrize(
    ("largest", "names"),
    [
        ([3, 1], ["0", "1", "2", "3"]),
        ([0], ["0"]),
        ([3, None], []),
        ([index.MOST_CLASSES - 1], [str(number) for number in range(index.MOST_CLASSES)]),
        ([index.MOST_CLASSES], []),
    ],
)
def test_classes_are_named_by_their_numbers_where_every_shard_has_them(largest, names):
    assert index._class_names(largest) == names


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
    foreign_tar(folder / "bad.tar", {"a.png": b"", "b.png": b"x"})
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
