"""Ray Data streams: the plan's order, whoever reads it, from wherever it starts."""

import time

import numpy as np
import pytest

from rayograph.config import IngestScale, Pack, SklearnDigits
from rayograph.errors import DataError
from rayograph.ingest.packing import TRAIN, pack_shard, plan_shards
from rayograph.ingest.reading import PlannedReader
from rayograph.ingest.sources import open_source
from rayograph.runs.artifact import Artifact
from rayograph.shards.plan import Plan
from rayograph.storage import open_store

pytestmark = pytest.mark.usefixtures("cluster")
STREAM = IngestScale(window_steps=3, tasks=2)
ROWS = 32 * 32 * 3


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> PlannedReader:
    declared = Pack(source=SklearnDigits(), image_size=32, held_out_fraction=0.2, samples_per_shard=100)
    source = open_source(declared.source, None)
    artifact = Artifact(open_store(str(tmp_path_factory.mktemp("shards"))), "pack")
    tasks = [task for task in plan_shards(source.entries(), declared) if task.split == TRAIN]
    counts = tuple(len(pack_shard(artifact, task, source, declared)) for task in tasks)
    return PlannedReader(artifact, tuple(task.name for task in tasks), Plan(counts, 0, 64, 8), "images")


def consumed(reader: PlannedReader, worker: int, workers: int, steps: range) -> list[np.ndarray]:
    from rayograph.ingest.streams import training_batches

    stream = training_batches(reader, STREAM, worker=worker, workers=workers, steps=steps, row_bytes=ROWS)
    return [batch.positions for batch in stream]


def test_workers_together_see_the_plan_and_a_resumed_group_of_another_size_goes_on(reader: PlannedReader) -> None:
    plan = reader.plan
    before = [consumed(reader, worker, 2, range(10)) for worker in range(2)]
    after = [consumed(reader, worker, 4, range(10, 25)) for worker in range(4)]
    seen = [np.concatenate([group[step] for group in before]) for step in range(10)]
    seen += [np.concatenate([group[step] for group in after]) for step in range(15)]
    np.testing.assert_array_equal(np.stack(seen), plan.positions(range(25)))


def test_rows_hold_what_the_plan_locates(reader: PlannedReader) -> None:
    from rayograph.ingest.streams import training_batches

    (batch,) = training_batches(reader, STREAM, worker=1, workers=2, steps=range(30, 31), row_bytes=ROWS)
    expected = reader.read(reader.plan.positions(range(30, 31), 1, 2)[0])
    np.testing.assert_array_equal(batch.columns["pixels"], expected["pixels"])
    np.testing.assert_array_equal(batch.columns["classes"], expected["classes"])


def test_results_come_in_the_order_of_the_items_whichever_task_ends_first() -> None:
    from rayograph.ingest.streams import each

    def slow_first(item: int) -> bytes:
        time.sleep(0.5 if item == 0 else 0.0)
        return str(item).encode()

    assert list(each(range(8), slow_first, cpus=0.5, tasks=4)) == [str(item).encode() for item in range(8)]


def test_an_error_of_a_task_arrives_as_itself() -> None:
    from rayograph.ingest.streams import each

    def refuse(item: int) -> bytes:
        raise DataError(f"sample {item}: unreadable")

    with pytest.raises(DataError, match=r"^sample 5: unreadable$"):
        list(each([5], refuse, cpus=0.5, tasks=1))


def test_an_actor_is_made_once_and_answers_in_order() -> None:
    from rayograph.ingest.streams import each_with

    def worker():  # type: ignore[no-untyped-def]
        made = time.monotonic_ns()
        return lambda item: f"{item} {made}".encode()

    answers = [answer.decode().split() for answer in each_with(range(6), worker, cpus=0.5, gpus=0, actors=2)]
    assert [int(item) for item, _ in answers] == list(range(6))
    assert len({made for _, made in answers}) <= 2
