"""The planned reader: every position's own sample, in the plan's order, each sample and each index read once."""

import io
import pickle
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from watched_store import WatchedFolder

from rayograph.errors import DataError, MissingObjectError
from rayograph.ingest.columns import from_npy, image_columns, moments_columns, to_npy
from rayograph.ingest.reading import PlannedReader
from rayograph.runs.artifact import Artifact
from rayograph.shards.images import to_png
from rayograph.shards.plan import Plan
from rayograph.shards.sample import Sample
from rayograph.shards.store import put_shard
from rayograph.storage import ObjectStore, open_store
from rayograph.storage.remote import RemoteFolder

COUNTS = (7, 1, 20, 12)
NAMES = tuple(f"shards/train-{number:06d}.tar" for number in range(len(COUNTS)))
DRAW = np.random.default_rng(0)
PIXELS = DRAW.integers(0, 256, (sum(COUNTS), 4, 6, 3), np.uint8)
MOMENTS = DRAW.normal(size=(sum(COUNTS), 4, 2, 3)).astype(np.float32)
CLASSES = DRAW.integers(0, 1000, sum(COUNTS))
PLAN = Plan(COUNTS, seed=5, global_batch_size=8, lanes=4, slice_rows=3, window_rows=6)


def write_shards(store, content, classes=True):
    artifact = Artifact(store, "artifact")
    numbers = iter(range(sum(COUNTS)))
    for name, count in zip(NAMES, COUNTS, strict=True):
        samples = []
        for number in (next(numbers) for _ in range(count)):
            data = to_png(Image.fromarray(PIXELS[number])) if content == "images" else to_npy(MOMENTS[number])
            labels = {"cls": str(CLASSES[number]).encode()} if classes else {}
            samples.append(Sample(f"s{number}", {"png" if content == "images" else "npy": data} | labels))
        put_shard(artifact, name, samples)
    return artifact


@pytest.fixture
def watched(tmp_path):
    return ObjectStore(WatchedFolder(str(tmp_path)))


def numbers_at(positions):
    shards, rows = PLAN.locate(positions)
    return (np.cumsum(COUNTS) - COUNTS)[shards] + rows


@pytest.mark.parametrize(("content", "truth"), [("images", PIXELS), ("moments", MOMENTS)])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_rows_come_in_the_plans_order_for_every_worker(watched, content, truth, workers):
    reader = PlannedReader(write_shards(watched, content), NAMES, PLAN, content)
    name = "pixels" if content == "images" else "moments"
    for worker in range(workers):
        positions = PLAN.positions(range(3, 12), worker, workers).ravel()
        columns = reader.read(positions)
        assert set(columns) == {"positions", "classes", name}
        assert np.array_equal(columns["positions"], positions)
        assert np.array_equal(columns[name], truth[numbers_at(positions)])
        assert np.array_equal(columns["classes"], CLASSES[numbers_at(positions)])


@settings(max_examples=50)
@given(positions=st.lists(st.integers(0, 500), min_size=1, max_size=40))
def test_any_positions_may_be_read_also_repeated_and_over_many_epochs(positions, tmp_path_factory):
    reader = PlannedReader(_artifact(tmp_path_factory), NAMES, PLAN, "moments")
    columns = reader.read(np.array(positions))
    assert np.array_equal(columns["moments"], MOMENTS[numbers_at(np.array(positions))])


def _artifact(factory, made=[]):  # noqa: B006 - written once for all examples
    if not made:
        made.append(write_shards(open_store(str(factory.mktemp("moments"))), "moments"))
    return made[0]


def test_a_sample_that_several_positions_need_is_fetched_once(watched):
    reader = PlannedReader(write_shards(watched, "moments"), NAMES, PLAN, "moments")
    reader.read(np.arange(PLAN.size))
    fetched = sum(length for _, length in watched.backend.ranges)
    watched.backend.ranges.clear()
    reader.read(np.arange(3 * PLAN.size))
    assert sum(length for _, length in watched.backend.ranges) == fetched
    assert len(watched.backend.ranges) == len(NAMES)


def test_indexes_are_read_once_however_often_one_reads(watched):
    reader = PlannedReader(write_shards(watched, "moments"), NAMES, PLAN, "moments")
    for step in range(10):
        reader.read(PLAN.positions(range(step, step + 1)).ravel())
    assert sorted(watched.backend.reads) == sorted(set(watched.backend.reads))


def test_indexes_are_not_read_again_by_a_reader_that_came_through_a_pickle(monkeypatch):
    reader = PlannedReader(write_shards(open_store(f"memory://{uuid4().hex}"), "moments"), NAMES, PLAN, "moments")
    truth = reader.read(np.arange(PLAN.size))

    def refuse(*_):
        raise AssertionError("an index was read again")

    monkeypatch.setattr(RemoteFolder, "read", refuse)
    for _ in range(2):
        again = pickle.loads(pickle.dumps(reader)).read(np.arange(PLAN.size))  # noqa: S301 - our own
        assert np.array_equal(again["moments"], truth["moments"])


def test_without_classes_there_is_no_column_of_them(watched):
    reader = PlannedReader(write_shards(watched, "images", classes=False), NAMES, PLAN, "images")
    assert set(reader.read(np.arange(8))) == {"positions", "pixels"}


def test_a_missing_shard_is_an_error_that_names_it(watched):
    artifact = write_shards(watched, "images")
    watched.delete(artifact.key(NAMES[2]))
    with pytest.raises(MissingObjectError, match=NAMES[2]):
        PlannedReader(artifact, NAMES, PLAN, "images").read(np.arange(PLAN.size))


def test_a_damaged_member_is_an_error_that_names_its_sample():
    for columns, extension, said in (
        (image_columns, "png", "s7: expected an image"),
        (moments_columns, "npy", "s7: expected a plain .npy array"),
    ):
        with pytest.raises(DataError, match=said):
            columns([Sample("s7", {extension: b"garbage"})])


def test_a_class_that_is_no_number_is_an_error_that_names_its_sample():
    with pytest.raises(DataError, match="s7: expected a class's number, got b'cat'"):
        moments_columns([Sample("s7", {"npy": to_npy(MOMENTS[0]), "cls": b"cat"})])


@pytest.mark.parametrize(
    "array", [MOMENTS[0], np.zeros((0, 3)), np.array(1.5, np.float16), np.arange(6).reshape(2, 3).T]
)
def test_an_array_comes_back_from_its_bytes(array):
    found = from_npy(to_npy(array), "a")
    assert found.dtype == np.asarray(array).dtype
    assert np.array_equal(found, array)


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle was run')",)


def zipped():
    buffer = io.BytesIO()
    np.savez(buffer, a=1)
    return buffer.getvalue()


def objects():
    buffer = io.BytesIO()
    np.save(buffer, np.array([Evil()]), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\x10\x00" + b"{" * 16, zipped(), objects(), pickle.dumps(Evil())]
)
def test_what_is_no_plain_array_is_refused_by_name_and_never_unpickled(data):
    with pytest.raises(DataError, match=r"s7: expected a plain \.npy array"):
        from_npy(data, "s7")


@given(at=st.integers(0, 140), new=st.binary(min_size=1, max_size=3), cut=st.integers(0, 230))
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_array_gives_an_array_or_a_refusal_by_name(at, new, cut):
    data = bytearray(to_npy(MOMENTS[0]))
    data[at : at + len(new)] = new
    try:
        outcome = from_npy(bytes(data[: cut or None]), "s7")
    except DataError as error:
        outcome = str(error)
    assert isinstance(outcome, np.ndarray) or outcome.startswith("s7: ")
