"""What addresses, folders and fsspec's filesystems add to the contract of the stores."""

import os
from pathlib import Path

import pytest

from rayograph.errors import StorageError
from rayograph.storage import open_store


def test_addresses_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert open_store("runs/digits/").uri == f"{tmp_path}/runs/digits"
    assert open_store("~/runs").uri == "/home/someone/runs"
    assert open_store("file:///data/with%20blank").uri == "/data/with blank"
    assert open_store("s3://bucket").uri == "s3://bucket"
    assert open_store("s3://bucket//a/b/").uri == "s3://bucket/a/b"
    assert open_store("memory://a/").uri_of("k") == "memory://a/k"
    for uri in ("runs/digits", "s3://bucket/a", "memory://a"):
        assert open_store(open_store(uri).uri).uri == open_store(uri).uri


@pytest.mark.parametrize("uri", ["", "file://elsewhere/data", "s3://", "s3:///key", "s3://bucket/../a", "s4://bucket"])
def test_an_address_that_cannot_be_is_refused(uri: str) -> None:
    with pytest.raises(StorageError, match=uri or "empty"):
        open_store(uri)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    for uri, endpoint_url in (("ftp://me:hunter2@host/a", None), ("s3://bucket", "https://me:hunter2@host")):
        with pytest.raises(StorageError, match="holds a password") as refusal:
            open_store(uri, endpoint_url)
        assert "hunter2" not in str(refusal.value)


def test_a_failed_local_write_leaves_the_old_object_and_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    store.put("a", b"old")
    seen: list[bytes | str] = []

    def fail(unfinished: str, _: str) -> None:
        seen.extend([Path(unfinished).read_bytes(), *(info.key for info in store.list())])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(StorageError, match=rf"{tmp_path}/a: put failed \(No space left on device\)"):
        store.put("a", b"newer")
    assert [info.key for info in store.list()] == ["a"]
    assert seen == [b"newer", "a"]  # the unfinished file was there, and hidden
    assert os.listdir(tmp_path) == ["a"]
    assert store.read("a") == b"old"


def test_linked_folders_are_listed_once_and_links_to_nowhere_never(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    store.put("a/1", b"")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "2").touch()
    (tmp_path / "store" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "store" / "a" / "again").symlink_to(tmp_path / "store" / "a")
    (tmp_path / "store" / "a" / "up").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "nowhere").symlink_to(tmp_path / "gone")
    assert [info.key for info in store.list()] == ["a/1", "b/2"]


def test_access_to_a_file_or_a_place_without_writing_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for uri, said in (
        (str(tmp_path / "file"), r"list failed \(Not a directory\)"),
        ("/proc/rayograph", "put if absent"),
    ):
        with pytest.raises(StorageError, match=rf"{uri}.*{said}"):
            open_store(uri).check_access()


def test_a_filesystem_that_cannot_commit_is_for_reading_alone(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"there")
    store = open_store(f"local://{tmp_path}")
    store.check_access(writable=False)
    assert store.read_range("a", 1, 2) == b"he"
    for ask in (lambda: store.put("b", b""), lambda: store.put_if_absent("b", b""), store.check_access):
        with pytest.raises(StorageError, match="is not supported on local://"):
            ask()
    assert os.listdir(tmp_path) == ["a"]
