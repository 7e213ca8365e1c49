"""Files kept in memory as they will be on the disk."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load

from rayograph.errors import CheckpointError
from rayograph.runs.artifact import Artifact
from rayograph.storage import open_store
from rayograph.training.checkpoints.piece_files import PAGE, FileInMemory, PieceFiles, checked, pieces_in
from rayograph.training.engine.state import Piece


def test_a_file_in_memory_is_one_that_safetensors_reads() -> None:
    file = FileInMemory({"a/b@0": 3, "ü@7": 5000})
    file.values["a/b@0"].copy_(torch.tensor([1.0, -2.0, 3.5]))
    file.values["ü@7"].fill_(0.25)
    found = load(bytes(file.data))
    assert found["a/b@0"].tolist() == [1.0, -2.0, 3.5]
    assert torch.equal(found["ü@7"], torch.full((5000,), 0.25))


def test_its_values_begin_on_a_page() -> None:
    file = FileInMemory({"values@0": 8})
    assert (len(file.data) - 8 * 4) % PAGE == 0
    assert file.values["values@0"].data_ptr() % PAGE == 0


def test_pieces_come_back_from_files_of_their_kind(tmp_path) -> None:
    artifact = Artifact(open_store(str(tmp_path)), "run")
    files = PieceFiles(artifact)
    pieces = [Piece("n/weight/w", 0, torch.arange(4.0)), Piece("n/length-0.1/w", 2, torch.ones(2))]
    for offset in (0.0, 10.0):  # the second overwrites the first's memory
        files.copy([Piece(p.name, p.start, p.values + offset) for p in pieces], lambda name: name.split("/")[1])
        records = files.write("checkpoints/1")
    assert [record["path"] for record in records] == [
        "checkpoints/1/weight-00000-000.safetensors",
        "checkpoints/1/length-0.1-00000-000.safetensors",
    ]
    found = [piece for record in records for piece in pieces_in(checked(artifact, record))]
    assert [(piece.name, piece.start, piece.values.tolist()) for piece in found] == [
        ("n/weight/w", 0, [10.0, 11.0, 12.0, 13.0]),
        ("n/length-0.1/w", 2, [11.0, 11.0]),
    ]


def test_a_file_that_is_not_what_was_recorded_is_told(tmp_path) -> None:
    artifact = Artifact(open_store(str(tmp_path)), "run")
    record = artifact.write("x.safetensors", b"as it was").model_dump()
    artifact.write("x.safetensors", b"as it is!")
    with pytest.raises(CheckpointError, match="does not match its sha256"):
        checked(artifact, record)


class Bomb:
    """Unpickled, it writes a file."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.write_text, (self._marker, "ran")


def test_a_pickle_in_a_files_place_is_refused_and_not_executed_though_its_hash_is_right(tmp_path) -> None:
    artifact, buffer = Artifact(open_store(str(tmp_path)), "run"), io.BytesIO()
    torch.save({"n/weight/w@0": Bomb(tmp_path / "marker")}, buffer)
    record = artifact.write("x.safetensors", buffer.getvalue()).model_dump()
    with pytest.raises(CheckpointError, match="expected a safetensors file"):
        list(pieces_in(checked(artifact, record)))
    assert not (tmp_path / "marker").exists()
    torch.load(buffer.seek(0) or buffer, weights_only=False)  # it would have gone off
    assert (tmp_path / "marker").read_text() == "ran"
