"""Classes mean one thing: the same number or name, whoever reads it, in whatever kind of file."""

import json
from decimal import Decimal

import pyarrow as pa
import pytest
from asked import as_csv, as_json_lines, as_parquet, pages
from fastapi import HTTPException
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from rayograph.api.routers.image_files import _class_number
from rayograph.api.submission import Row
from rayograph.conditioning.class_label import ClassLabelConditioner
from rayograph.conditioning.class_names import class_number
from rayograph.config import ImageFolder
from rayograph.errors import DataError
from rayograph.ingest.sources.folder import Folder
from rayograph.sampling.requests.model_spec import ModelSpec

NAMES = ("cat", "dog", "7", "2", "é e", "3.5", "null")


def by_parquet(folder, given):
    kind = pa.uint64() if type(given) is int and given >= 2**63 else None
    return by_file(as_parquet(folder / "r.parquet", pa.table({"class": pa.array([given], kind)})))


def by_dictionary(folder, given):
    column = pa.array([given] if isinstance(given, str) else [str(given)]).dictionary_encode()
    return by_file(as_parquet(folder / "r.parquet", pa.table({"class": column})))


def by_csv(folder, given):
    return by_file(as_csv(folder / "r.csv", [{"class": given, "count": 1}]))


def by_json_lines(folder, given):
    return by_file(as_json_lines(folder / "r.jsonl", [{"class": given}]))


def by_http(folder, given):
    """As the job_service keeps a submission's rows."""
    try:
        row = Row.model_validate(json.loads(json.dumps({"class": given})))
    except ValidationError as error:
        raise DataError(str(error)) from error
    return by_file(as_json_lines(folder / "r.jsonl", [row.said()]))


def by_query(_folder, given):
    """GET /v1/jobs/ID/images?class=…"""
    try:
        return _class_number(str(given), NAMES)
    except HTTPException as error:
        raise DataError(str(error.detail)) from error


def by_file(uri):
    spec = ModelSpec(ClassLabelConditioner(len(NAMES), NAMES), 8, 4, 1000)
    ((number,),) = (page["class"].to_pylist() for page in pages(uri, spec=spec))
    return number


READERS = [by_parquet, by_dictionary, by_csv, by_json_lines, by_http, by_query]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("given", "number"),
    [
        ("cat", 0),
        (" dog ", 1),
        ("é e", 4),
        ("3.5", 5),
        (3.5, 5),
        ("null", 6),
        (7, 2),  # a name, as 7 is no number of seven classes
        ("7", 2),
        (7.0, 2),
        (2, 3),  # a name first
        ("2", 3),
        (2.0, 3),
        ("02", 3),
        (" 2 ", 3),
        ("2.0", 3),
        ("2e0", 3),
        (0, 0),  # a number where no class is called so
        ("0", 0),
        ("000", 0),
        (-0.0, 0),
        ("+1", 1),
        (4, 4),
        ("6", 6),
    ],
)
def test_a_class_is_its_name_or_else_its_number_in_every_reader(tmp_path, reader, given, number):
    assert reader(tmp_path, given) == number


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "given",
    [
        "bird", "Cat", "2.5", 2.5, -1, "-1", 8, "8", 10**18, "9" * 30, "9" * 300, "1e30", "0x1", "1_0", "٣", "²", "nan",
        "1,0", "True",
    ],
)  # fmt: skip
def test_what_is_no_class_is_refused_by_every_reader(tmp_path, reader, given):
    with pytest.raises(DataError, match="class: expected "):
        reader(tmp_path, given)


@pytest.mark.parametrize("given", [True, False, None, [1], {"a": 1}, float("nan"), float("inf"), b"cat"])
def test_what_no_text_or_number_is_names_no_class(given):
    assert class_number(given, NAMES) is None


@pytest.mark.parametrize("reader", [by_parquet, by_json_lines, by_http])
@pytest.mark.parametrize("given", [True, [1], {"a": 1}])
def test_readers_of_types_refuse_what_is_neither_number_nor_text(tmp_path, reader, given):
    with pytest.raises(DataError, match="class"):
        reader(tmp_path, given)


@given(st.integers(-(10**20), 10**20))
def test_a_whole_number_is_the_same_class_however_it_is_written(number):
    forms = [number, str(number), f" {number} ", f"{number:+}", f"{number}.0", Decimal(number)]
    forms += [float(number)] if abs(number) < 2**53 else []
    assert {class_number(form, ()) for form in forms} == {number}


def test_a_folders_classes_are_meant_by_the_folders_names(tmp_path):
    for name in ("10", "2", "cat"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "a.png")
    names = Folder(ImageFolder(uri=str(tmp_path), class_per_folder=True), None).class_names
    assert sorted(names) == ["10", "2", "cat"]
    for name in names:
        assert names[class_number(name, names)] == name
    assert names[class_number(2, names)] == "2"
    assert names[class_number(10, names)] == "10"
