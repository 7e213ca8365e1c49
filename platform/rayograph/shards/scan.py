"""The index of a shard that others made: any WebDataset tar, read once from front to back.

What belongs together is WebDataset's own rule: a name ends its key at the first dot of its last part, and neighbours
of one key are a sample. Names without a key or an extension are ignored, as WebDataset does. A sample with anything
wrong is left out, and named in `facts["rejected"]`; a tar that cannot be read to its end is an error.
"""

import re
from dataclasses import dataclass, field

import numpy as np

from rayograph.errors import DataError
from rayograph.shards.forward import Forward
from rayograph.shards.headers import Member, members_of, printable
from rayograph.shards.index import Members, ShardIndex
from rayograph.storage import ObjectStore

LARGEST_CLASS = "largest_class"
"""The fact of the largest class, where every sample has one that is a number from 0; None otherwise."""

PICKLES = {"pkl", "pickle", "pyd", "pt", "pth", "joblib", "dill"}
"""Extensions of what is a program to its reader. An npz may hold one too, but not as arrays, which is all we read."""

MOST_EXTENSIONS = 256
"""In one shard. More are names with dots in them, which WebDataset's rule tears apart."""

_IGNORED = re.compile("__[^/]*__($|/)")
_OUTSIDE = re.compile(r"[/\\]|[A-Za-z]:|(.*[/\\])?\.\.([/\\]|$)", re.DOTALL)
_PICKLED = ("expected no pickle, which may run a program when it is read", "one")
_UNREADABLE = ("expected a name in UTF-8", "other bytes")
_ASTRAY = ("expected a relative name without '..', a drive or NUL", "this one")


def scan_shard(store: ObjectStore, key: str) -> ShardIndex:
    """The index of any tar of samples, which is read in ranges and never held whole.

    `facts` are "rejected", a list of {"key", "reason"}, and `LARGEST_CLASS`. Raises DataError naming the tar, and the
    member or byte, for what is no tar, compressed, damaged or cut off.
    """
    with Forward(store, key) as source:
        found = _Found(source.uri)
        for member in members_of(source):
            found.add(member)
        digest = source.sha256()
    keys = [name for name in found.rows if name not in found.rejected]
    kept = np.array([name not in found.rejected for name in found.rows], bool)
    columns = {extension: column.members(kept) for extension, column in sorted(found.columns.items())}
    columns = {extension: members for extension, members in columns.items() if (members.sizes >= 0).any()}
    rejected = [{"key": printable(name), "reason": reason} for name, reason in found.rejected.items()]
    facts = {"rejected": rejected, LARGEST_CLASS: largest_class([found.classes.get(name) for name in keys])}
    return ShardIndex(source.total, digest, keys, columns, facts)


def largest_class(classes: list[bytes | None]) -> int | None:
    """The largest of the samples' classes; None unless each has one that is a number from 0."""
    try:
        numbers = [int(data) for data in classes if data is not None]
    except ValueError:
        return None
    return max(numbers) if numbers and len(numbers) == len(classes) and min(numbers) >= 0 else None


def split_name(name: str) -> tuple[str, str] | None:
    """Key and extension (lower case) of a member's name; None where it has not both, and for names `__like_this__`."""
    folder, slash, last = name.rpartition("/")
    stem, _, extension = last.partition(".")
    if not stem or not extension or (name.startswith("__") and _IGNORED.match(name)):
        return None
    return folder + slash + stem, extension.lower()


class _Column:
    """The members of one extension as they come. Lists of numbers: objects would cost more than all the rest."""

    def __init__(self, fault: tuple[str, str] | None) -> None:
        """`fault` is what is wrong with the extension: expected and got."""
        self.fault = fault
        self._rows: list[int] = [-1]
        self._offsets, self._sizes, self._checksums = [0], [0], [0]

    def add(self, row: int, member: Member) -> bool:
        """False where the row, which is the newest, has one already."""
        if self._rows[-1] == row:
            return False
        self._rows.append(row)
        self._offsets.append(member.offset)
        self._sizes.append(member.size)
        self._checksums.append(member.checksum)
        return True

    def members(self, kept: np.ndarray) -> Members:
        """Of the rows that are `kept` (rows,) bool."""
        rows, count = np.array(self._rows[1:], np.int64), len(kept)
        columns = []
        for values, dtype, missing in (
            (self._offsets, np.int64, 0),
            (self._sizes, np.int64, -1),
            (self._checksums, np.uint64, 0),
        ):
            column = np.full(count, missing, dtype)
            column[rows] = np.array(values[1:], dtype)
            columns.append(column[kept])
        return Members(*columns)


@dataclass
class _Found:
    """What has passed by so far. `rows` numbers the samples by key, `rejected` maps keys to reasons."""

    uri: str
    rows: dict[str, int] = field(default_factory=dict)
    columns: dict[str, _Column] = field(default_factory=dict)
    classes: dict[str, bytes | None] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    last: str | None = None

    def add(self, member: Member) -> None:
        """Takes the next member in."""
        names = split_name(member.name)
        if names is None or member.kind in ("folder", "other"):
            return
        key, extension = names
        if member.kind != "file":
            self._reject(key, member, "expected a file", f"a {member.kind}")
            return
        if key != self.last:
            self._begin(key, member)
        column = self.columns.get(extension)
        if column is None:
            column = self._learn(extension, member)
        if column.fault is not None:
            self._reject(key, member, *column.fault)
        if member.size == 0:
            self._reject(key, member, "expected contents", "0 bytes")
        if not column.add(self.rows[key], member):
            self._reject(key, member, f"expected one .{printable(extension)} in a sample", "two")
        if extension == "cls":
            self.classes[key] = member.contents

    def _begin(self, key: str, member: Member) -> None:
        if key in self.rows:
            self._reject(key, member, "expected a sample's members side by side", "another sample between them")
        elif (fault := _fault_in(key) or (_ASTRAY if _OUTSIDE.match(key) else None)) is not None:
            self._reject(key, member, *fault)
        self.rows.setdefault(key, len(self.rows))
        self.last = key

    def _learn(self, extension: str, member: Member) -> _Column:
        if len(self.columns) == MOST_EXTENSIONS:
            raise DataError(
                f"{self.uri}: member {printable(member.name)}: expected at most {MOST_EXTENSIONS} extensions in a "
                f"shard, got .{printable(extension)} as one more: a key ends at the first dot, so it must hold none"
            )
        pickled = extension.removesuffix(".gz").rpartition(".")[2] in PICKLES
        astray = _ASTRAY if "\\" in extension else None  # what is left of a\..\b.jpg behind its first dot
        self.columns[extension] = _Column(_PICKLED if pickled else _fault_in(extension) or astray)
        return self.columns[extension]

    def _reject(self, key: str, member: Member, expected: str, got: str) -> None:
        """The first reason stands."""
        self.rejected.setdefault(key, f"{self.uri}: member {printable(member.name)}: {expected}, got {got}")


def _fault_in(text: str) -> tuple[str, str] | None:
    """What is wrong with a key or an extension wherever it stands."""
    try:
        text.encode()
    except UnicodeEncodeError:  # for the surrogates
        return _UNREADABLE
    return _ASTRAY if "\0" in text else None
