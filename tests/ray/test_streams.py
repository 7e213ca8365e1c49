"""Ray Data streams: the plan's order, whoever reads it, from wherever it starts."""

import time
from pathlib import Path

import numpy as np
import pytest

from rayograph.config import IngestScale
from rayograph.errors import DataError
from rayograph.ingest import decoders as contents
from rayograph.ingest.decoders import Images
from rayograph.ingest.reading import PlannedReader
from rayograph.runs.artifact import Artifact
from rayograph.shards.batch import Batch
from rayograph.shards.committed import Shards
from rayograph.shards.order.dataset_order import DataSet
from rayograph.shards.order.sample_order import Plan
from rayograph.shards.pixels.decode import to_jpeg
from rayograph.shards.sample import Sample
from rayograph.shards.store import put_shard, read_index, shard_name
from rayograph.storage import open_store

pytestmark = pytest.mark.usefixtures("cluster")
BY_TASKS = IngestScale(steps_per_task=3, tasks=2)
IN_WORKER = IngestScale(steps_per_task=3, in_worker=True)
SHARDS, ROWS = 10, 100


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> PlannedReader:
    artifact = Artifact(open_store(str(tmp_path_factory.mktemp("shards"))), "pack")
    draw = np.random.default_rng(0)
    names = tuple(shard_name("train", number) for number in range(SHARDS))
    for name in names:
        samples = []
        for row in range(ROWS):
            pixels = draw.integers(0, 256, (8, 8, 3), np.uint8).repeat(4, 0).repeat(4, 1)
            samples.append(Sample(f"{name[-7:-4]}-{row}", {"jpg": to_jpeg(pixels, 95), "cls": str(row % 7).encode()}))
        put_shard(artifact, name, samples)
    plan = Plan((DataSet((ROWS,) * SHARDS, 4),), 0, 64, 8, window_slices=64)
    return PlannedReader((Shards(artifact, names),), plan, Images(32))


def consumed(
    reader: PlannedReader, worker: int, workers: int, steps: range, way: IngestScale = BY_TASKS
) -> list[Batch]:
    from rayograph.ingest.streams import training_batches

    return list(training_batches(reader, way, worker=worker, workers=workers, steps=steps))


@pytest.mark.parametrize("way", [BY_TASKS, IN_WORKER])
def test_workers_together_see_the_plan_and_a_resumed_group_of_another_size_goes_on(
    reader: PlannedReader, way: IngestScale
) -> None:
    plan = reader.plan
    before = [consumed(reader, worker, 2, range(10), way) for worker in range(2)]
    after = [consumed(reader, worker, 4, range(10, 25), way) for worker in range(4)]
    seen = [np.concatenate([group[step].positions for group in before]) for step in range(10)]
    seen += [np.concatenate([group[step].positions for group in after]) for step in range(15)]
    np.testing.assert_array_equal(np.sort(np.stack(seen), axis=1), plan.positions(range(25)))
    for group in (before, after):
        for worker, batches in enumerate(group):
            for batch in batches:
                step = int(batch.positions.min()) // plan.global_batch_size
                batch.require_positions(plan.positions(range(step, step + 1), worker, len(group))[0])


@pytest.mark.parametrize("way", [BY_TASKS, IN_WORKER])
def test_rows_hold_what_the_plan_locates(
    reader: PlannedReader, way: IngestScale, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "BLOCK_BYTES", 100 * reader.content.row_bytes)
    batches = consumed(reader, 1, 2, range(30, 41), way)
    assert len(batches) == 11
    for step, batch in zip(range(30, 41), batches, strict=True):
        expected = reader.read(reader.plan.positions(range(step, step + 1), 1, 2)[0])
        np.testing.assert_array_equal(batch.columns["pixels"], expected["pixels"])
        np.testing.assert_array_equal(batch.columns["classes"], expected["classes"])
        assert batch.keys.tolist() == expected["keys"].tolist()


def test_a_damaged_shard_is_named_and_its_samples_are_replaced_in_the_stream(
    reader: PlannedReader, tmp_path: Path
) -> None:
    store = open_store(str(tmp_path))
    source = reader.shards[0].artifact
    for name in source.names():
        store.put(f"pack/{name}", source.read(name))
    artifact, bad = Artifact(store, "pack"), reader.shards[0].names[3]
    index = read_index(artifact, bad)
    data = bytearray(artifact.read(bad))
    for offset, size in zip(index.members["jpg"].offsets, index.members["jpg"].sizes, strict=True):
        data[offset + size // 2] ^= 0x55
    artifact.write(bad, bytes(data))
    damaged = PlannedReader((Shards(artifact, reader.shards[0].names),), reader.plan, reader.content)
    steps = range(16)
    batches, whole = consumed(damaged, 0, 1, steps), consumed(reader, 0, 1, steps)
    for batch, right in zip(batches, whole, strict=True):
        batch.require_positions(right.positions)
        for key, true_key, reason in zip(batch.keys, right.keys, batch.substituted, strict=True):
            if true_key.startswith("003-"):
                assert f"{bad}: sample {true_key}: its .jpg differs" in reason
                assert not key.startswith("003-")
            else:
                assert (key, reason) == (true_key, "")


def test_results_come_in_the_order_of_the_items_whichever_task_ends_first() -> None:
    from rayograph.ingest.streams import each

    def slow_first(item: int) -> bytes:
        time.sleep(0.5 if item == 0 else 0.0)
        return str(item).encode()

    assert list(each(range(8), slow_first, IngestScale(cpus_per_task=0.5, tasks=4))) == [
        str(item).encode() for item in range(8)
    ]


def test_an_error_of_a_task_arrives_as_itself() -> None:
    from rayograph.ingest.streams import each

    def refuse(item: int) -> bytes:
        raise DataError(f"sample {item}: unreadable")

    with pytest.raises(DataError, match=r"^sample 5: unreadable$"):
        list(each([5], refuse, IngestScale(cpus_per_task=0.5)))


def test_an_actor_is_made_once_and_answers_in_order() -> None:
    from rayograph.ingest.streams import each_with

    def worker():  # type: ignore[no-untyped-def]
        made = time.monotonic_ns()
        return lambda item: f"{item} {made}".encode()

    answers = [answer.decode().split() for answer in each_with(range(6), worker, cpus=0.5, gpus=0, actors=2)]
    assert [int(item) for item, _ in answers] == list(range(6))
    assert len({made for _, made in answers}) <= 2
