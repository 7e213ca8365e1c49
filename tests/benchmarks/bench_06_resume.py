"""Resuming in the middle of an epoch over 10,000 shards, with another number of workers, against peers that can.

Time from when the workers are up to the first batch; samples lost or repeated over the whole epoch, from the keys that
were read. The resumed run has four readers in place of two. Peers: DataLoader workers; ours: ranks of a training.
"""

import pickle
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import data
import numpy as np
from harness import alternate, record, row
from ours import reader
from sides import PEERS, Side

NAME, SAMPLES, PER_SHARD, BATCH = "bench_06_resume", 20_000, 2, 64
GOAL = "≤ 0.5 s, 0 lost or repeated"
BEFORE = 150
"""Batches of 64 read before."""


def rank(plan_file: str, way: str, worker: int, workers: int, first: int, last: int, out: str) -> None:
    """One rank, from where its process is up: unpickles what it was sent, reads its rows of the steps."""
    from rayograph.config import IngestScale
    from rayograph.ingest import streams

    if way == "tasks":
        import ray

        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    started = time.perf_counter()
    source = pickle.loads(Path(plan_file).read_bytes())  # noqa: S301 - our own, a moment old
    scale = IngestScale(tasks=1, in_worker=way == "worker")
    keys, ready = [], 0.0
    for batch in streams.training_batches(source, scale, worker=worker, workers=workers, steps=range(first, last)):
        ready = ready or time.perf_counter() - started
        keys.append(batch.keys.astype(np.int64))
    np.savez(out, keys=np.concatenate(keys) if keys else np.zeros(0, np.int64), ready=ready)


def resumed(way: str, folder: Path, number: int) -> dict[str, Any]:
    """Two ranks up to a step, four from there to the epoch's end."""
    source = reader(folder, "latents", BATCH, number)
    steps = SAMPLES // BATCH  # the last batch of the epoch also begins the next one, and is left out on all sides
    with tempfile.TemporaryDirectory() as scratch:
        plan = Path(scratch) / "plan"
        plan.write_bytes(pickle.dumps(source))
        parts = []
        for workers, first, last in ((2, 0, BEFORE), (4, BEFORE, steps)):
            outs = [f"{scratch}/{workers}-{worker}.npz" for worker in range(workers)]
            for worker, out in enumerate(outs):  # one after the other: two cores would make them wait for each other
                command = [
                    sys.executable,
                    __file__,
                    str(plan),
                    way,
                    str(worker),
                    str(workers),
                    str(first),
                    str(last),
                    out,
                ]
                subprocess.run(command, check=True, capture_output=True)
            parts.append([np.load(out) for out in outs])
        keys = np.concatenate([part["keys"] for group in parts for part in group])
        expected = source.read(np.arange(steps * BATCH))["keys"].astype(np.int64)
        return {"seconds": float(np.median([p["ready"] for p in parts[1]]))} | _lost(keys, expected)


def peer_resumed(program: str, folder: Path, number: int) -> dict[str, Any]:
    """Two DataLoader workers up to a batch, four from there to the epoch's end."""
    with tempfile.TemporaryDirectory() as scratch:
        common = ("--data", str(folder), "--kind", "latents", "--batch-size", str(BATCH))
        state = f"{scratch}/state.json"
        begun = ("--workers", "2", "--batches", str(BEFORE), "--save-state", state, "--ids", f"{scratch}/a.npy")
        Side(program, f"peers/peer_{program}.py", (*common, *begun), str(PEERS))(number)
        rest = ("--workers", "4", "--resume-at", str(BEFORE), "--ids", f"{scratch}/b.npy")
        kept = ("--state", state) if Path(state).exists() and Path(state).read_text() != "null" else ()
        result = Side(program, f"peers/peer_{program}.py", (*common, *rest, *kept), str(PEERS))(number)
        keys = np.concatenate([np.load(f"{scratch}/{part}.npy") for part in "ab"])
        return {"seconds": max(1e-3, result["first_batch_after_workers_seconds"])} | _lost(keys, np.arange(SAMPLES))


def _lost(keys: np.ndarray, expected: np.ndarray) -> dict[str, int]:
    return {
        "lost": len(np.setdiff1d(expected, keys)),
        "repeated": len(keys) - len(np.unique(keys)),
    }


def main() -> None:
    """All sides."""
    folder = data.make("latents16", SAMPLES, PER_SHARD, ("wds", "litdata", "mds"), same_shards=True)
    sides = [lambda n, way=way: resumed(way, folder, n) for way in ("worker", "tasks")]
    peers = {"MosaicML Streaming": "streaming", "LitData": "litdata", "WebDataset, skipping": "webdataset"}
    sides += [lambda n, p=program: peer_resumed(p, folder, n) for program in peers.values()]
    found = alternate(*sides)
    rows = []
    for mine, case in enumerate(("read by the worker", "by Ray Data tasks")):
        for place, name in enumerate(peers, start=2):
            said = [f"{who}: {max(r['lost'] for r in results)} lost, {max(r['repeated'] for r in results)} repeated"
                    for who, results in (("ours", found[mine]), ("its", found[place]))]  # fmt: skip
            times = [[result["seconds"] for result in found[side]] for side in (mine, place)]
            rows.append(row(NAME, f"first batch after the workers are up, {case}", "s", name, *times,
                            goal=GOAL, limit="; ".join(said), less_is_better=True))  # fmt: skip
    record(NAME, rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        plan_file, way, *numbers, out = sys.argv[1:]
        rank(plan_file, way, *map(int, numbers), out)
    else:
        main()
