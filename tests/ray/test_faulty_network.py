"""A training's stream from a real S3 server over a network that fails in every way: every sample once, or named."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from fault_proxy import Fault, FaultProxy, at_random, fault_proxy
from s3_servers import S3Server

from rayograph.conditioning.class_label import ClassLabelConditioner
from rayograph.config import IngestScale
from rayograph.errors import DataError
from rayograph.ingest.columns import to_npy
from rayograph.ingest.decoders import Moments
from rayograph.ingest.reading import PlannedReader
from rayograph.runs.artifact import Artifact
from rayograph.shards.batch import Batch
from rayograph.shards.committed import Shards
from rayograph.shards.order.dataset_order import DataSet
from rayograph.shards.order.sample_order import Plan
from rayograph.shards.sample import Sample
from rayograph.shards.store import put_shard, shard_name
from rayograph.storage import open_store
from rayograph.trainer.control_actor import Control
from rayograph.trainer.events import BadSample
from rayograph.trainer.worker import watched

pytestmark = pytest.mark.usefixtures("cluster")

SHARDS, ROWS, SHAPE = 20, 500, (2, 4, 4)
SAMPLES, BATCH = SHARDS * ROWS, 100
NAMES = tuple(shard_name("train", number) for number in range(SHARDS))
CORRUPT = NAMES[3]
RANDOM = at_random(
    seed=4,
    chances={Fault("error"): 0.04, Fault("slow down"): 0.04, Fault("reset"): 0.04, Fault("truncated"): 0.04},
)
STALL = Fault("stall", seconds=30)


def moments(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=SHAPE).astype(np.float32)


@pytest.fixture(scope="module")
def bucket(ceph_s3: S3Server) -> str:
    """10,000 samples, written without faults."""
    uri = ceph_s3.new_bucket()
    artifact = Artifact(open_store(uri, ceph_s3.endpoint_url), "moments")
    for shard, name in enumerate(NAMES):
        numbers = range(shard * ROWS, (shard + 1) * ROWS)
        put_shard(
            artifact, name, [Sample(str(n), {"npy": to_npy(moments(n)), "cls": b"%d" % (n % 9)}) for n in numbers]
        )
    return uri


@contextmanager
def broken_reader(bucket: str, server: S3Server, corrupt: str | None) -> Iterator[tuple[PlannedReader, FaultProxy]]:
    def script(method: str, path: str, ranged: str | None, attempt: int) -> Fault | None:
        if method == "GET" and path.endswith(NAMES[7]) and attempt == 0 and not stalled and not corrupt:  # 20 s: once
            stalled.append(path)
            return STALL
        drawn = RANDOM(method, path, ranged, attempt)
        return drawn or (Fault("wrong bytes") if corrupt and path.endswith(corrupt) and ranged else None)

    stalled: list[str] = []
    with fault_proxy(server.endpoint_url, script) as proxy:
        artifact = Artifact(open_store(bucket, proxy.url), "moments")
        plan = Plan((DataSet((ROWS,) * SHARDS, 19),), 0, BATCH, 4)
        yield PlannedReader((Shards(artifact, NAMES),), plan, Moments(SHAPE, ClassLabelConditioner(9, None))), proxy


def read(reader: PlannedReader) -> list[Batch]:
    from rayograph.ingest.streams import training_batches

    steps = range(SAMPLES // BATCH)
    scale = IngestScale(tasks=2, cpus_per_task=0.5, steps_per_task=20)
    return list(training_batches(reader, scale, worker=0, workers=1, steps=steps))


def right(batch: Batch) -> None:
    """Every row is the sample that it says it is."""
    for row, key in enumerate(batch.keys):
        np.testing.assert_array_equal(batch.columns["moments"][row], moments(int(key)))
        assert batch.columns["class"][row] == int(key) % 9


def test_ten_thousand_samples_arrive_exactly_once(bucket: str, ceph_s3: S3Server) -> None:
    with broken_reader(bucket, ceph_s3, corrupt=None) as (reader, proxy):
        batches = read(reader)
        assert set(proxy.injected) == {"error", "slow down", "reset", "truncated", "stall"}
    keys = np.concatenate([batch.keys for batch in batches]).astype(int)
    np.testing.assert_array_equal(np.sort(keys), np.arange(SAMPLES))
    np.testing.assert_array_equal(np.concatenate([batch.positions for batch in batches]), np.arange(SAMPLES))
    assert not any(reason for batch in batches for reason in batch.substituted)
    for batch in batches:
        right(batch)


def test_a_corrupt_shard_is_named_and_skipped_sample_by_sample_or_fails_as_configured(
    bucket: str, ceph_s3: S3Server
) -> None:
    with broken_reader(bucket, ceph_s3, corrupt=CORRUPT) as (reader, proxy):
        batches = read(reader)
        assert proxy.injected["wrong bytes"] > 0
    reasons = [reason for batch in batches for reason in batch.substituted if reason]
    assert 0 < len(reasons) <= ROWS
    assert all(f"{CORRUPT}: sample " in reason and "differs from what was indexed" in reason for reason in reasons)
    kept = [int(key) for batch in batches for key, bad in zip(batch.keys, batch.substituted, strict=True) if not bad]
    assert len(set(kept)) == len(kept) == SAMPLES - len(reasons)
    assert set(range(SAMPLES)) - set(kept) <= set(range(3 * ROWS, 4 * ROWS))
    np.testing.assert_array_equal(np.concatenate([batch.positions for batch in batches]), np.arange(SAMPLES))
    for batch in batches:
        right(batch)

    with pytest.raises(
        DataError, match=rf"{CORRUPT}: sample \d+: .* \(\d+ unreadable samples so far, bad_sample_limit 0"
    ):
        list(watched(iter(batches), Control.start([]), 0, None))
    control = Control.start([])
    assert len(list(watched(iter(batches), control, SAMPLES, None))) == len(batches)
    assert sorted(map(repr, control.take())) == sorted(repr(BadSample(reason)) for reason in set(reasons))
