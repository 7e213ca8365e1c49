"""Splits by the names of folders and files: train/cat/1.jpg, test/dog/2.jpg; train-00000-of-00002.parquet."""

import re
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute

from rayograph.config import ImageFolder
from rayograph.errors import DataError
from rayograph.runs.manifest import HELD_OUT, TRAIN

SPLITS = dict.fromkeys(("train", "training"), TRAIN) | dict.fromkeys(
    (*("val", "valid", "validation", "dev"), *("test", "testing", "eval", "evaluation", "heldout", "held_out")),
    HELD_OUT,
)
"""The names that Hugging Face's data sets and the field's archives have, in lower case."""

_FILE = re.compile(r"([A-Za-z_]+?)(?:[-_.][0-9].*)?\.[A-Za-z]+")  # train-00000-of-00002.parquet, test.parquet


def held_out_folders(
    paths: pa.Array, declared: ImageFolder, where: str, notes: list[str]
) -> tuple[np.ndarray | None, int]:
    """Which of n paths are held out (n,) bool, where their folders say it; and how deep folders of classes lie.

    Raises DataError where folders are splits and something else at once.
    """
    first = _part(paths, 0)
    loose = bool(first.null_count - paths.null_count)
    folders = [name for name in pa.compute.unique(first).to_pylist() if name is not None]
    found = {split_of(name) for name in folders}
    if declared.split_folders is None and (loose or not (declared.class_per_folder or {TRAIN, HELD_OUT} <= found)):
        return None, 0
    if not folders_are_splits(folders, declared.split_folders, where):
        return None, 0
    if loose:
        raise DataError(f"{where}: expected splits' folders (split_folders=True), got files beside them")
    notes.append(split_note(folders, "folders as splits:"))
    if HELD_OUT not in found:
        return None, 1
    held_out = pa.array([name for name in folders if split_of(name) == HELD_OUT], pa.large_string())
    return pa.compute.is_in(first, held_out).to_numpy(zero_copy_only=False), 1


def class_folders(paths: pa.Array, depth: int, where: str) -> pa.DictionaryArray:
    """The folder of each path's class. Raises DataError naming a file that lies in none."""
    folders = _part(paths, depth)
    if folders.null_count > paths.null_count:
        loose = paths.filter(pa.compute.and_(folders.is_null(), paths.is_valid()))[0].as_py()
        raise DataError(
            f"{where.rstrip('/')}/{loose}: expected a folder a class (class_per_folder)"
            f"{' below each split' if depth else ''}, got a loose file"
        )
    return folders.dictionary_encode()


def split_of(name: str) -> str | None:
    """Of a folder's name."""
    return SPLITS.get(name.lower())


def file_split(key: str) -> str | None:
    """Of a file's own name, or else of a folder above it."""
    *folders, name = key.split("/")
    found = _FILE.fullmatch(name)
    own = split_of(found[1]) if found else None
    return own or next((split for folder in folders if (split := split_of(folder))), None)


def files_are_splits(keys: Sequence[str], declared: bool | None, where: str) -> bool:
    """Whether files are splits by their names, of both kinds; None declared asks that all of them are.

    Raises DataError for one that is none, where splits are declared.
    """
    if declared is False:
        return False
    splits = {key: file_split(key) for key in keys}
    unknown = next((key for key, split in splits.items() if split is None), None)
    if declared and unknown is not None:
        raise DataError(f"{where.rstrip('/')}/{unknown}: expected a split's name (split_files=True)")
    return unknown is None and (bool(declared) or set(splits.values()) == {TRAIN, HELD_OUT})


def folders_are_splits(folders: Iterable[str], declared: bool | None, where: str) -> bool:
    """Whether the folders right below a place are splits rather than classes or mere folders.

    None declared takes them for splits where all are called so, for something else where none or one is (a class may
    well be called "train"), and asks where several are among others. Raises DataError then, naming them.
    """
    names = sorted(set(folders))
    splits = [name for name in names if split_of(name)]
    others = [name for name in names if not split_of(name)]
    if declared is False or not names:
        return False
    if declared and others:
        raise DataError(f"{where}: expected splits' names (split_folders=True), got a folder {others[0]!r}")
    if others and {split_of(name) for name in splits} == {TRAIN, HELD_OUT}:
        raise DataError(
            f"{where}: expected splits or other folders, got {', '.join(splits[:4])} beside {others[0]}: move it away, "
            "or say split_folders=False, and then all are alike"
        )
    return bool(splits) and not others


def split_note(splits: Sequence[str], what: str) -> str:
    """How they are read, in one line."""
    train = [name for name in sorted(set(splits)) if split_of(name) == TRAIN]
    held_out = [name for name in sorted(set(splits)) if split_of(name) == HELD_OUT]
    if not held_out:
        return f"{what} {', '.join(train)} is for training, and a part of it held out (held_out_fraction)"
    return (
        f"{what} {', '.join(train) or 'none'} for training, {', '.join(held_out)} held out "
        "(held_out_fraction has no say; split_folders=False reads them otherwise)"
    )


def _part(paths: pa.Array, depth: int) -> pa.Array:
    """The folder at that depth of each path; null for a file that lies higher."""
    pattern = rf"^(?:[^/]*/){{{depth}}}(?P<folder>[^/]*)/"
    return pa.compute.struct_field(pa.compute.extract_regex(paths, pattern), "folder")
