"""The planned reader: every position's own sample, in the plan's order, each sample and each index read once."""

import io
import pickle
from uuid import uuid4

import numpy as np
import pytest
from columns_of import image_columns, moments_columns
from hypothesis import given, settings
from hypothesis import strategies as st
from watched_store import WatchedFolder

from rayograph.conditioning.class_label import ClassLabelConditioner
from rayograph.conditioning.unconditional import UnconditionalConditioner
from rayograph.config import View
from rayograph.config.job.conditioners import Unconditional
from rayograph.errors import DataError, MissingObjectError, StorageError
from rayograph.ingest import decoders as contents
from rayograph.ingest.columns import from_npy, to_npy
from rayograph.ingest.decoders import Images, Moments
from rayograph.ingest.reading import PlannedReader
from rayograph.runs.artifact import Artifact
from rayograph.shards import store
from rayograph.shards.committed import Shards
from rayograph.shards.order.dataset_order import DataSet
from rayograph.shards.order.sample_order import Plan
from rayograph.shards.pixels.decode import to_png
from rayograph.shards.sample import Sample
from rayograph.shards.store import put_shard, read_index
from rayograph.storage import ObjectStore, open_store
from rayograph.storage.remote import RemoteFolder

COUNTS = (7, 1, 20, 12)
NAMES = tuple(f"shards/train-{number:06d}.tar" for number in range(len(COUNTS)))
DRAW = np.random.default_rng(0)
PIXELS = DRAW.integers(0, 256, (sum(COUNTS), 4, 6, 3), np.uint8)
MOMENTS = DRAW.normal(size=(sum(COUNTS), 4, 2, 3)).astype(np.float32)
CLASSES = DRAW.integers(0, 1000, sum(COUNTS))
PLAN = Plan((DataSet(COUNTS, 3),), seed=5, global_batch_size=8, lanes=4, window_slices=8)
SIZE = sum(COUNTS)
METHODS = {"images": Images(4), "moments": Moments((4, 2, 3), ClassLabelConditioner(1000, None))}
UNTOLD = Moments((4, 2, 3), UnconditionalConditioner(Unconditional(), None))
ALWAYS = {"positions", "keys", "substituted"}


def write_shards(store, content, classes=True):
    artifact = Artifact(store, "artifact")
    numbers = iter(range(sum(COUNTS)))
    for name, count in zip(NAMES, COUNTS, strict=True):
        samples = []
        for number in (next(numbers) for _ in range(count)):
            data = to_png(PIXELS[number]) if content == "images" else to_npy(MOMENTS[number])
            labels = {"cls": str(CLASSES[number]).encode()} if classes else {}
            samples.append(Sample(f"s{number}", {"png" if content == "images" else "npy": data} | labels))
        put_shard(artifact, name, samples)
    return artifact


def reader_of(artifact, content):
    return PlannedReader((Shards(artifact, NAMES),), PLAN, METHODS[content])


@pytest.fixture
def watched(tmp_path):
    return ObjectStore(WatchedFolder(str(tmp_path)))


def numbers_at(positions):
    shards, rows = PLAN.locate(positions)
    return (np.cumsum(COUNTS) - COUNTS)[shards] + rows


@pytest.mark.parametrize(("content", "truth"), [("images", PIXELS[:, :, 1:5]), ("moments", MOMENTS)])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_rows_come_in_the_plans_order_for_every_worker(watched, content, truth, workers):
    reader = reader_of(write_shards(watched, content), content)
    name = "pixels" if content == "images" else "moments"
    for worker in range(workers):
        positions = PLAN.positions(range(3, 12), worker, workers).ravel()
        columns = reader.read(positions)
        classes = "classes" if content == "images" else "class"
        assert set(columns) == ALWAYS | {classes, name}
        assert np.array_equal(columns["positions"], positions)
        assert np.array_equal(columns[name], truth[numbers_at(positions)])
        assert np.array_equal(columns[classes], CLASSES[numbers_at(positions)])
        assert columns["keys"].tolist() == [f"s{number}" for number in numbers_at(positions)]
        assert not any(columns["substituted"])


@settings(max_examples=50)
@given(positions=st.lists(st.integers(0, 500), min_size=1, max_size=40))
def test_any_positions_may_be_read_also_repeated_and_over_many_epochs(positions, tmp_path_factory):
    reader = reader_of(_artifact(tmp_path_factory), "moments")
    columns = reader.read(np.array(positions))
    assert np.array_equal(columns["moments"], MOMENTS[numbers_at(np.array(positions))])


def _artifact(factory, made=[]):  # noqa: B006 - written once for all examples
    if not made:
        made.append(write_shards(open_store(str(factory.mktemp("moments"))), "moments"))
    return made[0]


def test_a_sample_that_several_positions_need_is_fetched_once(watched):
    reader = reader_of(write_shards(watched, "moments"), "moments")
    reader.read(np.arange(SIZE))
    fetched = sum(length for _, length in watched.backend.ranges)
    watched.backend.ranges.clear()
    reader.read(np.arange(3 * SIZE))
    # Once an epoch: a plan's windows end where its epochs do, so nobody asks for three at once but this test.
    assert sum(length for _, length in watched.backend.ranges) == fetched
    assert len(watched.backend.ranges) == len(NAMES)


def test_blocks_are_what_read_gives_whole_steps_at_a_time(watched, monkeypatch):
    monkeypatch.setattr(contents, "BLOCK_BYTES", 3 * 4 * METHODS["images"].row_bytes)
    reader = reader_of(write_shards(watched, "images"), "images")
    for worker in range(2):
        blocks = list(reader.blocks(range(5, 12), worker, 2))
        assert [len(block["positions"]) for block in blocks] == [12, 12, 4]
        whole = reader.read(PLAN.positions(range(5, 12), worker, 2).ravel())
        for name, column in whole.items():
            assert np.array_equal(np.concatenate([block[name] for block in blocks]), column), name


@pytest.mark.parametrize("content", ["images", "moments"])
def test_all_bytes_of_a_run_of_steps_are_asked_for_once(watched, content, monkeypatch):
    monkeypatch.setattr(contents, "BLOCK_BYTES", 1)
    monkeypatch.setattr(store, "GAP_BYTES", 0)
    reader = reader_of(write_shards(watched, content), content)
    list(reader.blocks(range(PLAN.window_steps, 2 * PLAN.window_steps), 0, 4))
    ranges = len(watched.backend.ranges)
    lane_rows = PLAN.window_steps * 2
    assert ranges <= lane_rows // 3 + 2 + len(NAMES)  # slices of a lane's window, its ends, and shards' ends


@pytest.mark.parametrize("content", ["images", "moments"])
def test_a_damaged_sample_is_named_and_another_stands_in_the_same_one_for_every_reader(watched, content):
    artifact = write_shards(watched, content)
    index = read_index(artifact, NAMES[2])
    extension = "png" if content == "images" else "npy"
    key, row = artifact.key(NAMES[2]), 5
    data = bytearray(watched.read(key))
    data[index.members[extension].offsets[row] + 130] ^= 1
    watched.put(key, bytes(data))
    reader = reader_of(artifact, content)
    whole = reader.read(np.arange(2 * SIZE))
    bad = [place for place, reason in enumerate(whole["substituted"]) if reason]
    damaged = sum(COUNTS[:2]) + row
    assert bad == np.flatnonzero(numbers_at(np.arange(2 * SIZE)) == damaged).tolist()
    assert all(f"{NAMES[2]}: sample s{damaged}: its .{extension} differs" in whole["substituted"][p] for p in bad)
    assert f"s{damaged}" not in whole["keys"]
    for place in bad:
        alone = reader.read(np.array([place]))
        assert alone["keys"][0] == whole["keys"][place]
        for name in set(whole) - ALWAYS:
            assert np.array_equal(alone[name][0], whole[name][place])


def test_where_everything_is_damaged_the_first_sample_is_named(watched):
    artifact = write_shards(watched, "moments")
    for name in NAMES:
        watched.put(artifact.key(name), bytes(watched.size(artifact.key(name))))
    with pytest.raises(DataError, match=r"sample s\d+: its .\w+ differs .* \(8 samples tried in its place"):
        reader_of(artifact, "moments").read(np.arange(4))


def test_moments_of_unlike_places_are_read_all_the_same(watched):
    """Long keys and text members give a shard no even spacing: the slow path, and the mixed one."""
    artifact = Artifact(watched, "odd")
    samples = [
        Sample(
            "k" * (90 + 7 * number) if number % 3 else f"k{number}",
            {"npy": to_npy(MOMENTS[number]), "txt": b"t" * 300 * number},
        )
        for number in range(8)
    ]
    put_shard(artifact, "a.tar", samples)
    plan = Plan((DataSet((8,), 2),), 0, 4, 2)
    columns = PlannedReader((Shards(artifact, ("a.tar",)),), plan, UNTOLD).read(np.arange(16))
    _, rows = plan.locate(np.arange(16))
    assert np.array_equal(columns["moments"], MOMENTS[rows])


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_moments_keep_their_type(watched, kind):
    artifact = Artifact(watched, "typed")
    put_shard(artifact, "a.tar", [Sample(f"k{n}", {"npy": to_npy(MOMENTS[n].astype(kind))}) for n in range(8)])
    reader = PlannedReader((Shards(artifact, ("a.tar",)),), Plan((DataSet((8,)),), 0, 4, 2), UNTOLD)
    assert reader.read(np.arange(8))["moments"].dtype == kind


def test_a_class_that_the_model_does_not_have_is_replaced_and_named(watched):
    artifact = Artifact(watched, "beyond")
    samples = [Sample(f"k{n}", {"npy": to_npy(MOMENTS[n]), "cls": b"1000" if n == 3 else b"%d" % n}) for n in range(8)]
    put_shard(artifact, "a.tar", samples)
    plan = Plan((DataSet((8,)),), 0, 4, 2)
    columns = PlannedReader((Shards(artifact, ("a.tar",)),), plan, METHODS["moments"]).read(np.arange(8))
    _, rows = plan.locate(np.arange(8))
    for row, found, wrong in zip(rows.tolist(), columns["class"].tolist(), columns["substituted"], strict=True):
        assert (found == row) == (row != 3)
        place = f"{watched.uri}/beyond/a.tar: sample k3"
        assert wrong == (f"{place}: expected a class from 0 to 999, got 1000" if row == 3 else "")


def test_moments_of_another_shape_are_replaced_by_others_and_named(watched):
    artifact = Artifact(watched, "odd")
    shapes = [(4, 2, 3)] * 6 + [(4, 3, 2), (4, 2, 2)]
    put_shard(
        artifact, "a.tar", [Sample(f"k{n}", {"npy": to_npy(np.zeros(s, np.float32))}) for n, s in enumerate(shapes)]
    )
    reader = PlannedReader((Shards(artifact, ("a.tar",)),), Plan((DataSet((8,)),), 0, 4, 2), UNTOLD)
    columns = reader.read(np.arange(8))
    _, rows = reader.plan.locate(np.arange(8))
    for row, wrong in zip(rows.tolist(), columns["substituted"], strict=True):
        place = f"{watched.uri}/odd/a.tar: sample k{row}"
        assert wrong == ("" if row < 6 else f"{place}: expected moments of shape (4, 2, 3), got float32 of shape "
                         f"{shapes[row]}")  # fmt: skip
    assert columns["moments"].shape == (8, 4, 2, 3)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "MemoryError"),
        (RecursionError("too deep\nby far"), "RecursionError: too deep by far"),
        (UnicodeEncodeError("utf-8", "\udc00", 0, 1, "no"), "UnicodeEncodeError: "),
        (DataError("damaged"), "damaged"),
    ],
)
def test_any_exception_of_one_sample_is_that_samples_and_named_with_its_shard(watched, monkeypatch, error, said):
    reader = reader_of(write_shards(watched, "images"), "images")
    decode = contents.render

    def failing(data, name, choose):
        if name == "s3":
            raise error
        return decode(data, name, choose)

    monkeypatch.setattr(contents, "render", failing)
    columns = reader.read(np.arange(SIZE))
    wrong = [reason for reason in columns["substituted"] if reason]
    assert len(wrong) == 1
    assert wrong[0].startswith(f"{watched.uri}/artifact/{NAMES[0]}: sample s3: {said}")
    assert "\n" not in wrong[0]
    assert "s3" not in columns["keys"]


def test_a_store_that_fails_is_no_samples_fault(watched, monkeypatch):
    reader = reader_of(write_shards(watched, "images"), "images")

    def away(*_):
        raise StorageError("the store is away")

    monkeypatch.setattr(Shards, "rows", away)
    with pytest.raises(StorageError, match="the store is away"):
        reader.read(np.arange(4))


@pytest.mark.parametrize("classes", [["1", "22", "333"], ["0"], ["7 ", "12"]])
def test_classes_are_the_same_numbers_parsed_at_once_or_one_by_one(watched, classes):
    artifact = Artifact(watched, "classes")
    samples = [
        Sample(f"k{n}", {"npy": to_npy(MOMENTS[n]), "cls": classes[n % len(classes)].encode()}) for n in range(8)
    ]
    put_shard(artifact, "a.tar", samples)
    plan = Plan((DataSet((8,)),), 0, 4, 2)
    columns = PlannedReader((Shards(artifact, ("a.tar",)),), plan, METHODS["moments"]).read(np.arange(8))
    _, rows = plan.locate(np.arange(8))
    assert columns["class"].tolist() == [int(classes[row % len(classes)]) for row in rows]


def test_a_random_view_depends_on_seed_and_position_alone(watched):
    artifact = write_shards(watched, "images")
    view = View(crop="random", smallest_crop=0.5, flip_probability=0.5)
    readers = [PlannedReader((Shards(artifact, NAMES),), PLAN, Images(4, view, seed)) for seed in (1, 1, 2)]
    first, again, other = (reader.read(np.arange(2 * SIZE))["pixels"] for reader in readers)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    alone = np.concatenate([readers[0].read(np.array([position]))["pixels"] for position in range(2 * SIZE)])
    assert np.array_equal(first, alone)
    epochs = [
        dict(zip(readers[0].read(p)["keys"], readers[0].read(p)["pixels"], strict=True))
        for p in (np.arange(SIZE), np.arange(SIZE, 2 * SIZE))
    ]
    assert sum(not np.array_equal(epochs[0][key], epochs[1][key]) for key in epochs[0]) > SIZE // 2


def test_indexes_are_read_once_however_often_one_reads(watched):
    reader = reader_of(write_shards(watched, "moments"), "moments")
    for step in range(10):
        reader.read(PLAN.positions(range(step, step + 1)).ravel())
    assert sorted(watched.backend.reads) == sorted(set(watched.backend.reads))


def test_indexes_are_not_read_again_by_a_reader_that_came_through_a_pickle(monkeypatch):
    reader = reader_of(write_shards(open_store(f"memory://{uuid4().hex}"), "moments"), "moments")
    truth = reader.read(np.arange(SIZE))

    def refuse(*_):
        raise AssertionError("an index was read again")

    monkeypatch.setattr(RemoteFolder, "read", refuse)
    for _ in range(2):
        again = pickle.loads(pickle.dumps(reader)).read(np.arange(SIZE))  # noqa: S301 - our own
        assert np.array_equal(again["moments"], truth["moments"])


def test_without_classes_there_is_no_column_of_them(watched):
    reader = reader_of(write_shards(watched, "images", classes=False), "images")
    assert set(reader.read(np.arange(8))) == ALWAYS | {"pixels"}


def test_a_missing_shard_is_an_error_that_names_it(watched):
    artifact = write_shards(watched, "images")
    watched.delete(artifact.key(NAMES[2]))
    with pytest.raises(MissingObjectError, match=NAMES[2]):
        reader_of(artifact, "images").read(np.arange(SIZE))


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
