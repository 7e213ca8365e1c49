"""Our stream, with the peers' command line and measurement (peers/common.py), run by the project's own interpreter.

`--way tasks`: Ray Data tasks decode for one training worker; `--way worker`: a thread of the worker reads by itself;
`--way bare`: no reading at all, the decoder alone over the same bytes in as many processes (the limit).
"""

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import numpy as np
import torch
from common import SIZE, arguments, decode_scaled, report

from rayograph.conditioning.class_label import ClassLabelConditioner
from rayograph.config import IngestScale
from rayograph.ingest.decoders import Images, Moments
from rayograph.ingest.memory import keep_freed_memory
from rayograph.ingest.reading import PlannedReader
from rayograph.runs.artifact import Artifact
from rayograph.shards.committed import Shards
from rayograph.shards.order.dataset_order import DataSet, slice_rows
from rayograph.shards.order.sample_order import Plan
from rayograph.shards.scan import scan_shard
from rayograph.shards.shard_index import index_name
from rayograph.shards.store import read_index
from rayograph.storage import open_store

LANES = 8


def reader(
    data: Path | str, kind: str, batch_size: int, seed: int, endpoint_url: str | None = None, shards: int = 0
) -> PlannedReader:
    """Over the tars in data/wds (the first so many), indexed if they are not yet."""
    artifact = Artifact(open_store(f"{data}/wds", endpoint_url), "")
    names = tuple(name for name in artifact.names() if name.endswith(".tar"))[: shards or None]
    known = set(artifact.names())
    for name in names:
        if index_name(name) not in known:
            artifact.write(index_name(name), scan_shard(artifact.store, name).to_bytes())
    counts = tuple(len(read_index(artifact, name)) for name in names)
    total = sum(artifact.store.size(name) for name in names)
    data_set = DataSet(counts, slice_rows(sum(counts), total, LANES))
    content = Moments((8, 32, 32), ClassLabelConditioner(1000, None)) if kind == "latents" else Images(SIZE)
    return PlannedReader((Shards(artifact, names),), Plan((data_set,), seed, batch_size, LANES), content)


def stream(source: PlannedReader, options: object, way: str, steps: range) -> Iterator[tuple[torch.Tensor, np.ndarray]]:
    """Pairs as the peers give them."""
    from rayograph.ingest.streams import training_batches

    scale = IngestScale(tasks=options.workers, cpus_per_task=1, in_worker=way == "worker")
    name = "moments" if options.kind == "latents" else "pixels"
    for batch in training_batches(source, scale, worker=0, workers=1, steps=steps):
        yield torch.from_numpy(np.require(batch.columns[name], requirements="W")), batch.keys.astype(np.int64)


def bare(data: Path, workers: int, samples: int) -> tuple[float, float]:
    """Seconds, and CPU seconds of all workers, a sample: JPEGs decoded at the size we would, and thrown away."""
    source = reader(data, "photos", 64, 0)
    name = source.shards[0].names[0]
    index = source.shards[0].index(name)
    images = [s.members["jpg"] for s in source.shards[0].rows(name, index, range(min(256, len(index)))).samples()]
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(partial(_decode, images), [len(images)] * workers))  # warm
        started = time.perf_counter()
        spent = list(pool.map(partial(_decode, images), [samples // workers] * workers))
        wall = time.perf_counter() - started
    return wall / samples, sum(spent) / samples


def _decode(images: list[bytes], count: int) -> float:
    keep_freed_memory()
    before = time.process_time()
    for number in range(count):
        decode_scaled(images[number % len(images)])
    return time.process_time() - before


def main() -> None:
    """Reads and reports."""
    way = sys.argv.pop(sys.argv.index("--way") + 1)
    sys.argv.remove("--way")
    options = arguments(__doc__)
    torch.set_num_threads(1)
    keep_freed_memory()
    source = reader(options.data, options.kind, options.batch_size, options.seed, options.endpoint_url, options.shards)
    if way == "tasks":
        import ray

        if options.batches:  # the worker reads its first window by itself while the tasks start: not the steady state
            options.warm_up = max(options.warm_up, 3 * source.plan.window_steps // 2)

        ray.init(address="local", num_cpus=options.workers, include_dashboard=False, log_to_driver=False)
    start = options.resume_at
    epoch = sum(source.plan.sets[0].counts) // options.batch_size
    end = start + options.warm_up + options.batches if options.batches else epoch
    steps = range(start, end)
    report(options, ["ray", "simplejpeg"], lambda: stream(source, options, way, steps))


if __name__ == "__main__":
    main()
