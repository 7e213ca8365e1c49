"""Pieces of tensors in safetensors files, as the workers of a training write them together and anyone reads them back.

Each worker keeps its files in memory as they will be on the disk, headers and all, and fills in the tensors' values:
what a training waits for is that copy; hashing and writing need no other.
"""

import json
import mmap
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypedDict, TypeVar

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from rayograph.errors import CheckpointError, RayographError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256
from rayograph.runs.manifest import FileRecord
from rayograph.training.engine.state import Piece
from rayograph.training.workers import world

FILE_BYTES = 255 << 20
"""Of a file's values: with its header it stays below a power of two, which pinned memory is rounded up to."""

FILES_AT_ONCE = 4
PAGE = 4096

T = TypeVar("T")


class PieceFile(TypedDict):
    """A file: its path within the artifact."""

    path: str
    bytes: int
    sha256: str


class Listing(TypedDict):
    """What a commit says of its files."""

    files: list[PieceFile]


L = TypeVar("L", bound=Listing)


class _Tensor(TypedDict):
    """What a safetensors header says of one tensor."""

    dtype: str
    shape: list[int]
    data_offsets: list[int]


class FileInMemory:
    """A safetensors file of flat float32 tensors, which are `values` by name."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        header: dict[str, _Tensor] = {}
        end = 0
        for name, size in sizes.items():
            header[name] = {"dtype": "F32", "shape": [size], "data_offsets": [end, end + 4 * size]}
            end += 4 * size
        text = json.dumps(header).encode()
        text += b" " * (-(8 + len(text)) % PAGE)  # so that values begin on a page
        start = 8 + len(text)
        if torch.cuda.is_available():
            whole = torch.empty(start + end, dtype=torch.uint8, pin_memory=True)
        else:
            whole = torch.frombuffer(mmap.mmap(-1, start + end), dtype=torch.uint8)
        whole[:start] = torch.frombuffer(bytearray(len(text).to_bytes(8, "little") + text), dtype=torch.uint8)
        self.data = whole.numpy().data
        floats = whole[start:].view(torch.float32)
        self.values = dict(zip(sizes, floats.split(list(sizes.values())), strict=True))


class PieceFiles:
    """This worker's files of one training's pieces. All workers call `write` and `read` together."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        # Of its own: the thread that writes must not get between the training's own exchanges.
        self._group = dist.new_group(backend="gloo") if world()[1] > 1 else None
        self._files: list[FileInMemory] = []
        self._names: list[str] = []
        self._values: dict[str, Tensor] = {}

    def copy(self, pieces: Sequence[Piece], kind_of: Callable[[str], str]) -> None:
        """Takes the values of all pieces, the same ones every time. Pieces of one kind share files with no others."""
        if not self._files:
            self._lay_out(pieces, kind_of)
        for piece in pieces:
            self._values[_key(piece)].copy_(piece.values, non_blocking=True)
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    def write(self, folder: str) -> list[PieceFile]:
        """Puts every worker's files below `folder`. Raises CheckpointError on all workers where one cannot."""
        found: list[PieceFile] = []
        error = ""
        try:
            with ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="file") as pool:
                writing = [
                    pool.submit(self._artifact.write, f"{folder}/{name}", file.data)
                    for name, file in zip(self._names, self._files, strict=True)
                ]
                found = [_listed(record.result()) for record in writing]
        except Exception as cause:  # noqa: BLE001 - the others wait to be told
            error = f"{type(cause).__name__}: {cause}"
        told = self.gathered((found, error))
        self.agree(f"{self._artifact.uri}/{folder}: not written", [reason for _, reason in told])
        return [record for records, _ in told for record in records]

    def read(self, folder: str, commit: Callable[[], L]) -> tuple[L, dict[str, bytes]]:
        """The commit of `folder`, and this worker's share of the files that it names.

        Raises CheckpointError on all workers where one of them finds a fault.
        """
        rank, workers = world()
        found: L | None = None
        mine: dict[str, bytes] = {}
        fault = ""
        try:
            found = commit()
            mine = {file["path"]: checked(self._artifact, file) for file in found["files"][rank::workers]}
        except (RayographError, ValueError, KeyError, TypeError) as error:
            fault = str(error)
        self.agree(f"{self._artifact.uri}/{folder}: not whole", self.gathered(fault))
        assert found is not None
        return found, mine

    def pieces(self, files: list[PieceFile], mine: dict[str, bytes]) -> Iterator[Piece]:
        """What stands in files that were read, file after file, from the worker that read it to all."""
        workers = world()[1]
        for number, file in enumerate(files):
            yield from pieces_in(self._from(number % workers, mine.pop(file["path"], None), file["bytes"]))

    def agree(self, what: str, faults: Sequence[str]) -> None:
        """Raises CheckpointError with the first fault, if any worker has one."""
        for fault in faults:
            if fault:
                raise CheckpointError(f"{what}: {fault}")

    def gathered(self, value: T) -> list[T]:
        """Every worker's value, on every worker."""
        if self._group is None:
            return [value]
        values = [value] * world()[1]
        dist.all_gather_object(values, value, group=self._group)
        return values

    def _lay_out(self, pieces: Sequence[Piece], kind_of: Callable[[str], str]) -> None:
        rank, _ = world()
        kinds: dict[str, list[dict[str, int]]] = {}
        for piece in pieces:
            parts = kinds.setdefault(kind_of(piece.name), [{}])
            if parts[-1] and 4 * (sum(parts[-1].values()) + len(piece.values)) > FILE_BYTES:
                parts.append({})
            parts[-1][_key(piece)] = len(piece.values)
        for kind, parts in kinds.items():
            for number, sizes in enumerate(parts):
                self._files.append(FileInMemory(sizes))
                self._names.append(f"{kind}-{rank:05d}-{number:03d}.safetensors")
                self._values |= self._files[-1].values

    def _from(self, owner: int, data: bytes | None, size: int) -> bytes:
        if self._group is None:
            assert data is not None
            return data
        values = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(size, dtype=torch.uint8)
        dist.broadcast(values, owner, group=self._group)
        return values.numpy().tobytes()


def _listed(file: FileRecord) -> PieceFile:
    return {"path": file.path, "bytes": file.bytes, "sha256": file.sha256}


def checked(artifact: Artifact, file: PieceFile) -> bytes:
    """A recorded file's bytes. Raises CheckpointError where they are not what was recorded."""
    data = artifact.read(file["path"])
    if sha256(data) != file["sha256"]:
        raise CheckpointError(f"{file['path']} does not match its sha256")
    return data


def pieces_in(data: bytes) -> Iterator[Piece]:
    """What stands in one file. Raises CheckpointError for anything but safetensors."""
    try:
        found = load(data)
    except SafetensorError as error:
        raise CheckpointError(f"expected a safetensors file: {error}") from error
    for key, values in found.items():
        name, _, start = key.rpartition("@")
        yield Piece(name, int(start), values)


def _key(piece: Piece) -> str:
    return f"{piece.name}@{piece.start}"
