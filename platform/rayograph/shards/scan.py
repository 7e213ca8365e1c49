"""The index of a shard that others made: any WebDataset tar, read once from front to back.

What belongs together is WebDataset's own rule: a name ends its key at the first dot of its last part, and neighbours
of one key are a sample; a leading "./", as `tar -C folder -c .` writes, is nothing. Names without a key or an extension
are passed over, as WebDataset does, and what file managers leave behind; they are counted. A sample with anything wrong
is left out, and named in `facts["rejected"]`; a tar that cannot be read to its end is an error.
"""

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from rayograph.errors import DataError
from rayograph.json_types import Json
from rayograph.shards.classes import as_fact, classes_in, fault_of
from rayograph.shards.headers import SMALL_BYTES, Member, members_of, printable
from rayograph.shards.ignored import is_ignored
from rayograph.shards.sequential_reader import Forward
from rayograph.shards.shard_index import Members, ShardIndex
from rayograph.storage import ObjectStore

CLASSES, REJECTED, PASSED_OVER = "classes", "rejected", "passed_over"
"""The facts of an index: what the samples' classes are (classes.py), where that was looked at; the samples that were
left out and why; and how many members belong to none, by their kind."""

EMPTY = {"txt", "text", "caption", "prompt"}
"""Extensions of what may hold nothing: an empty caption is a caption."""

PICKLES = {"pkl", "pickle", "pyd", "pt", "pth", "joblib", "dill"}
"""Extensions of what is a program to its reader. An npz may hold one too, but not as arrays, which is all we read."""

MOST_EXTENSIONS = 256
"""In one shard. More are names with dots in them, which WebDataset's rule tears apart."""

_HERE = re.compile(r"\A(\./+)+")
_IGNORED = re.compile("__[^/]*__($|/)")
_OUTSIDE = re.compile(r"[/\\]|[A-Za-z]:|(.*[/\\])?\.\.([/\\]|$)", re.DOTALL)
TORN = ": a key ends at the first dot of its name, so it must hold none"
_PICKLED = ("expected no pickle, which may run a program when it is read", "one")
_UNREADABLE = ("expected a name in UTF-8", "other bytes")
_ASTRAY = ("expected a relative name without '..', a drive or NUL", "this one")


def scan_shard(store: ObjectStore, key: str, images: Collection[str] = ()) -> ShardIndex:
    """The index of any tar of samples, which is read in ranges and never held whole.

    Where extensions of `images` are given, a sample is left out that has no member of one of them, or whose class is
    none, and the facts hold `CLASSES`; `REJECTED`, a list of {"key", "reason"}, and `PASSED_OVER` they hold always.
    Reasons leave out where the tar lies: a copy of it has the same index.
    Raises DataError naming the tar, and the member or byte, for what is no tar, compressed, damaged or cut off.
    """
    with Forward(store, key) as source:
        found = _Found(source.uri)
        for member in members_of(source):
            found.add(member)
        digest = source.sha256()
    if images:
        found.require(images)
    keys = [name for name in found.rows if name not in found.rejected]
    kept = np.array([name not in found.rejected for name in found.rows], bool)
    columns = {extension: column.members(kept) for extension, column in sorted(found.columns.items())}
    columns = {extension: members for extension, members in columns.items() if (members.sizes >= 0).any()}
    rejected = [{"key": printable(name), "reason": reason} for name, reason in found.rejected.items()]
    facts: dict[str, Json] = {REJECTED: rejected, PASSED_OVER: dict(sorted(found.passed_over.items()))}
    if images:
        facts[CLASSES] = as_fact(classes_in(found.classes.get(name) for name in keys))
    return ShardIndex(source.total, digest, keys, columns, facts)


def split_name(name: str) -> tuple[str, str] | None:
    """Key and extension (lower case) of a member's name; None where it has not both, and for names `__like_this__`."""
    name = _HERE.sub("", name)
    folder, slash, last = name.rpartition("/")
    stem, _, extension = last.partition(".")
    if not stem or not extension or (name.startswith("__") and _IGNORED.match(name)) or _is_hidden(name):
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

    @property
    def rows(self) -> list[int]:
        """Those that have one, in order."""
        return self._rows[1:]

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
    passed_over: Counter[str] = field(default_factory=Counter)
    last: str | None = None

    def add(self, member: Member) -> None:
        """Takes the next member in."""
        if member.kind in ("folder", "other"):
            return
        names = split_name(member.name)
        if names is None:
            self.passed_over[_kind_of(member.name)] += 1
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
        if member.size == 0 and extension not in EMPTY:
            self._reject(key, member, "expected contents", "0 bytes")
        if not column.add(self.rows[key], member):
            self._reject(key, member, f"expected one .{printable(extension)} in a sample", "two")
        if extension == "cls":
            self.classes[key] = member.contents

    def require(self, images: Collection[str]) -> None:
        """Rejects samples that have none of these members, and those whose class is none."""
        for key, data in self.classes.items():
            wrong = f"expected a class of at most {SMALL_BYTES} bytes" if data is None else fault_of(data)
            if wrong:
                self.rejected.setdefault(key, f"sample {printable(key)}: {wrong}")
        there = {row for extension in images if extension in self.columns for row in self.columns[extension].rows}
        lacking = {row: key for key, row in self.rows.items() if row not in there and key not in self.rejected}
        got: dict[int, list[str]] = {row: [] for row in lacking}
        for extension, column in self.columns.items():
            for row in column.rows:
                if row in got:
                    got[row].append(extension)
        for row, key in lacking.items():
            torn = any("." in extension and extension.rpartition(".")[2] in images for extension in got[row])
            self.rejected[key] = (
                f"sample {printable(key)}: expected an image ({', '.join(sorted(images))}), got "
                f"{', '.join(f'.{printable(extension)}' for extension in got[row][:8])}"
                f"{TORN if torn else ''}"
            )

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
        self.rejected.setdefault(key, f"member {printable(member.name)}: {expected}, got {got}")


def _is_hidden(name: str) -> bool:
    """Whether a name is left out by its looks; one that leads astray is refused instead."""
    return not _OUTSIDE.match(name) and is_ignored(name)


def _kind_of(name: str) -> str:
    """Why a member belongs to no sample, for the count of them."""
    last = name.rpartition("/")[2]
    if last.startswith(".") or _is_hidden(_HERE.sub("", name)):
        return "hidden"
    return "no extension" if "." not in last else "other"


def _fault_in(text: str) -> tuple[str, str] | None:
    """What is wrong with a key or an extension wherever it stands."""
    try:
        text.encode()
    except UnicodeEncodeError:  # for the surrogates
        return _UNREADABLE
    return _ASTRAY if "\0" in text else None
