"""Photos from a real S3 server to batches, against stock Ray Data: speed, heap, and what arrives when requests fail.

The server is Ceph's gateway on this machine, on the same cores as both sides. With faults, a proxy before it breaks
requests: of every mebibyte asked for the first time, 1.5 % each by an error 500, a 503, a reset and an end of the body
where that mebibyte begins, and 1 % by what a busy S3 does: its object answers 503 SlowDown to everybody for 5 seconds.
So the same places fail for both, however they cut their requests. Both read one epoch, and every key that arrived is
counted.
"""

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))  # the tests' S3 server and proxy

import data
import numpy as np
from ceph_gateway import ceph_server
from fault_proxy import Fault, Script, at_random, fault_proxy
from harness import ROUNDS, Row, alternate, record, row
from s3_servers import S3Server, credentials
from sides import Side, Slope, cpu, ours, peer, rate

from rayograph.storage import ObjectStore, open_store

NAME, SAMPLES, PER_SHARD, BATCH, WORKERS = "bench_05_faults", 3072, 256, 64, "2"
PEER = "stock ray.data.read_webdataset"
OUTAGE_SECONDS = 5
CHANCES = {Fault(kind): 0.015 for kind in ("error", "slow down", "reset", "truncated")} | {
    Fault("slow down", seconds=OUTAGE_SECONDS): 0.01
}
MIB = 1 << 20


def upload(folder: Path, server: S3Server) -> str:
    """The tars in a fresh bucket, under wds/."""
    uri = server.new_bucket()
    store = open_store(uri, server.endpoint_url)
    for path in sorted((folder / "wds").glob("*.tar")):
        store.put(f"wds/{path.name}", path.read_bytes())
    return uri


def served_images_per_second(store: ObjectStore, image_bytes: float) -> float:
    """What the server gives to two readers of ranges of 8 MiB that do nothing else."""
    shards = [(info.key, info.size) for info in store.list("wds/") if info.key.endswith(".tar")]
    step = 8 << 20
    asked = [(key, at, min(step, size - at)) for key, size in shards for at in range(0, size, step)]
    started = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        read = sum(len(part) for part in pool.map(lambda one: store.read_range(*one), asked))
    return read / (time.perf_counter() - started) / image_bytes


def without_faults(uri: str, server: S3Server, limit: str) -> list[Row]:
    """Marginal rates and memory, in alternating rounds."""
    common = ("--data", uri, "--kind", "photos", "--batch-size", str(BATCH), "--workers", WORKERS)
    common += ("--endpoint-url", server.endpoint_url, "--memory")
    measured = ("--batches", str(SAMPLES // BATCH))
    mine, alone, theirs = alternate(
        ours("rayograph", "tasks", *common, *measured),
        ours("rayograph, in the worker", "worker", *common, *measured, "--warm-up", "8"),
        Slope(peer(PEER, "ray_data", *common), SAMPLES // PER_SHARD // 2, SAMPLES // PER_SHARD),
    )
    known = {"peer_versions": theirs[0]["versions"]}
    rows = []
    for case, results, (speed, size) in (("by tasks", mine, ("≥ 2.5×", "≤ ¼")), ("in the worker", alone, ("", ""))):
        heaps = [[result["peak_heap_bytes"] / MIB for result in side] for side in (results, theirs)]
        spent = {"cpu": [cpu(r) for r in results], "peer_cpu": [cpu(r) for r in theirs]}
        rates = [[rate(r) for r in side] for side in (results, theirs)]
        rows += [
            row(NAME, f"no faults, {case}: marginal rate", "images/s", PEER, *rates, goal=speed, limit=limit,
                **spent, **known),
            row(NAME, f"no faults, {case}: heap of all processes", "MiB", PEER, *heaps, goal=size,
                less_is_better=True, limit=f"Ray and the imports alone: {idle(results)}, its {idle(theirs)}", **known),
        ]  # fmt: skip
    return rows


def idle(results: list[dict[str, Any]]) -> str:
    """The heap before the first read."""
    return f"{median(result['idle_heap_bytes'] for result in results) / MIB:,.0f} MiB"


def by_the_mebibyte(seed: int, sizes: dict[str, int]) -> Script:
    """Draws for every mebibyte that a GET asks for; the first that is to fail breaks the request where it begins."""
    draw = at_random(seed, CHANCES)
    broken: set[tuple[str, int]] = set()
    outages: dict[str, float] = {}

    def script(method: str, path: str, ranged: str | None, attempt: int) -> Fault | None:
        name = path.rpartition("/")[2].partition("?")[0]
        if name not in sizes:
            return None
        first, _, last = (ranged or "bytes=0-").removeprefix("bytes=").partition("-")
        begin, end = int(first), int(last or sizes[name] - 1)
        if time.monotonic() < outages.get(name, 0):
            return Fault("slow down")
        for mebibyte in range(begin // MIB, end // MIB + 1):
            fault = draw(method, path, str(mebibyte), 0)
            if fault and (name, mebibyte) not in broken:
                broken.add((name, mebibyte))
                if fault.kind == "slow down" and fault.seconds == OUTAGE_SECONDS:
                    outages[name] = time.monotonic() + OUTAGE_SECONDS
                return replace(fault, after=max(0, mebibyte * MIB - begin))
        return None

    return script


def epoch(side: Side, scratch: Path, number: int) -> dict[str, Any]:
    """One epoch as it came: seconds (None where it died), samples lost and repeated, how it ended."""
    ids = scratch / f"{number}.npy"
    ids.unlink(missing_ok=True)
    result = replace(side, arguments=(*side.arguments, "--ids", str(ids))).attempt(number)
    if isinstance(result, str):
        return {"seconds": None, "ended": result.strip().splitlines()[-1][:120]}
    keys = np.load(ids)
    lost, repeated = SAMPLES - len(np.unique(keys)), len(keys) - len(np.unique(keys))
    return {"seconds": result["seconds_total"], "lost": lost, "repeated": repeated}


def with_faults(uri: str, server: S3Server) -> list[Row]:
    """One epoch a round through the proxy, a fresh one for each side, with the same chances."""
    ended: dict[str, list[dict[str, Any]]] = {"ours": [], PEER: []}
    listed = open_store(uri, server.endpoint_url).list("wds/")
    sizes = {info.key.rpartition("/")[2]: info.size for info in listed if info.key.endswith(".tar")}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(ROUNDS):
            for name, results in ended.items():
                with fault_proxy(server.endpoint_url, by_the_mebibyte(number, sizes)) as proxy:
                    common = ("--data", uri, "--kind", "photos", "--batch-size", str(BATCH), "--workers", WORKERS)
                    common += ("--endpoint-url", proxy.url)
                    side = ours(name, "tasks", *common) if name == "ours" else peer(name, "ray_data", *common)
                    results.append(epoch(side, Path(scratch), number) | {"faults": proxy.injected.total()})
                print(f"  faults, round {number + 1} of {ROUNDS}: {name}: {results[-1]}", file=sys.stderr, flush=True)
    said = "; ".join(f"{name}: {_ends(results)}" for name, results in ended.items())
    whole = [[sum(r.get("lost") == 0 and r["repeated"] == 0 for r in results)] for results in ended.values()]
    rates = [[SAMPLES / r["seconds"] for r in results if r["seconds"]] for results in ended.values()]
    return [
        row(NAME, "with faults, rounds that gave exactly the epoch's samples", f"of {ROUNDS}", PEER, *whole,
            goal="all", limit=said),
        row(NAME, "with faults, an epoch from nothing, where it ended", "images/s", PEER, rates[0],
            rates[1] if len(rates[1]) == ROUNDS else None),
    ]  # fmt: skip


def _ends(results: list[dict[str, Any]]) -> str:
    """How the rounds ended, in words."""
    died = [r["ended"] for r in results if r["seconds"] is None]
    lost = [r["lost"] for r in results if r["seconds"]]
    repeated = [r["repeated"] for r in results if r["seconds"]]
    parts = [f"{min(r['faults'] for r in results)}–{max(r['faults'] for r in results)} faults a round"]
    parts += [f"{len(died)} died ({died[0]})"] if died else []
    parts += [f"lost {min(lost)}–{max(lost)}, repeated {min(repeated)}–{max(repeated)} of {SAMPLES}"] if lost else []
    return ", ".join(parts)


def main() -> None:
    """Both parts, over one server."""
    folder = data.make("photos", SAMPLES, PER_SHARD)
    image_bytes = sum(path.stat().st_size for path in (folder / "wds").glob("*.tar")) / SAMPLES
    with credentials(), tempfile.TemporaryDirectory() as place, ceph_server(Path(place)) as server:
        uri = upload(folder, server)
        served = served_images_per_second(open_store(uri, server.endpoint_url), image_bytes)
        limit = f"the server alone gives {served:,.0f} images/s"
        record(NAME, without_faults(uri, server, limit) + with_faults(uri, server))


if __name__ == "__main__":
    main()
