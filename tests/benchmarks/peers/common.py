"""What the peers' programs share: command line, the two decoders, and the measurement.

A program makes an endless (or one epoch's) iterator of batches and hands it to `report`, which prints one line of JSON.
A batch is a pair: pixels (B, 256, 256, 3) uint8 or moments (B, 8, 32, 32), and the samples' keys as integers.

Several ranks: `python -m torch.distributed.run --nproc-per-node 2 peer_….py …`; each prints its own line. `--batches`,
`--batch-size` and `--workers` are per rank.
"""

import argparse
import importlib.metadata
import io
import itertools
import json
import multiprocessing
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import simplejpeg
import torch
from PIL import Image

SIZE = 256
BUFFER = 1000  # samples in a shuffle buffer, where a peer has one
RANK, WORLD_SIZE = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))  # torchrun sets them


def arguments(description: str | None) -> argparse.Namespace:
    """The command line, the same for every peer."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the folder that data.py printed")
    parser.add_argument("--kind", required=True, choices=["photos", "large", "small", "latents"])
    parser.add_argument("--decoder", default="stock", choices=["stock", "fast"])
    parser.add_argument("--batches", type=int, default=0, help="measured batches; 0: the rest of one epoch")
    parser.add_argument("--memory", action="store_true", help="sample the tree's memory every second, which costs time")
    parser.add_argument("--shards", type=int, default=0, help="only the first so many shards (ours and Ray Data's)")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--warm-up", type=int, default=0, help="batches before the measured ones")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ids", help="write the keys read, in order, to this .npy file; {rank} in it is replaced")
    parser.add_argument("--save-state", type=Path, help="write the position after the last batch to this file")
    parser.add_argument("--resume-at", type=int, default=0, help="start after this many batches of the epoch")
    parser.add_argument("--state", type=Path, help="the file of --save-state, where the peer keeps a position")
    parser.add_argument("--endpoint-url", help="the S3 server, where --data is s3://… (ours and Ray Data's)")
    options = parser.parse_args()
    if WORLD_SIZE > 1:
        torch.distributed.init_process_group("gloo")
    return options


def stock_pixels(image: Image.Image) -> torch.Tensor:
    """What documentations recommend: the shorter side to 256 by bicubic, the middle square. (256, 256, 3) uint8"""
    image = image.convert("RGB")
    scale = SIZE / min(image.size)
    width, height = (max(SIZE, round(side * scale)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    return torch.from_numpy(np.array(image.crop((left, top, left + SIZE, top + SIZE))))


def stock_decode(data: bytes) -> torch.Tensor:
    """JPEG bytes to pixels through Pillow."""
    return stock_pixels(Image.open(io.BytesIO(data)))


def decode_scaled(data: bytes) -> np.ndarray:
    """Decoded at 1/2, 1/4 or 1/8 where that stays at 256 or above: the factors that libjpeg-turbo is fast at."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    divisor = next((d for d in (8, 4, 2) if min(height, width) // d >= SIZE), 1)
    least = (-(-height // divisor), -(-width // divisor)) if divisor > 1 else (0, 0)
    return simplejpeg.decode_jpeg(data, "RGB", min_height=least[0], min_width=least[1], min_factor=1)


def fast_decode(data: bytes) -> torch.Tensor:
    """JPEG bytes to pixels, as fast as we know: what rayograph itself does (shards/pixels/decode.py)."""
    array = decode_scaled(data)
    height, width, _ = array.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = torch.from_numpy(np.ascontiguousarray(array[top : top + side, left : left + side]))
    if side == SIZE:
        return square
    scaled = torch.empty(SIZE, SIZE, 3, dtype=torch.uint8)
    scale = torch.ops.aten._upsample_bicubic2d_aa.out
    scale(square.permute(2, 0, 1)[None], [SIZE, SIZE], align_corners=False, out=scaled.permute(2, 0, 1)[None])
    return scaled


def decoder(name: str) -> Callable[[bytes], torch.Tensor]:
    """The function of `--decoder`."""
    return {"stock": stock_decode, "fast": fast_decode}[name]


def allow_torchvision() -> None:
    """Lets torchvision's import succeed without its C++ operators, which no peer calls (see cpu_torchvision.py)."""
    global _operators
    _operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        _operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_operators: torch.library.Library | None = None


class WorkersUp:
    """Notes when each DataLoader worker is up: pass it as `worker_init_fn`."""

    def __init__(self, workers: int) -> None:
        self._times = multiprocessing.Array("d", max(1, workers))

    def __call__(self, worker: int) -> None:
        self._times[worker] = self._times[worker] or time.time()  # the first epoch's

    def last(self) -> float | None:
        """When the last worker was up; None without workers."""
        return max(self._times) or None


def cpu_seconds() -> float:
    """What this process, its descendants and those of them that have ended (and were waited for) have used."""
    total = 0.0
    for process in tree():
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def tree() -> list[psutil.Process]:
    """This process and all its descendants."""
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


class Memory(threading.Thread):
    """Samples the proportional set size of the process tree; `heap` counts what no file backs."""

    def __init__(self, interval: float = 1.0) -> None:
        super().__init__(daemon=True)
        self.interval, self.heap, self.pss = interval, 0, 0
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(self.interval):
            self.sample()

    def sample(self) -> None:
        """Adds up the tree once."""
        heap = pss = 0
        for process in tree():
            try:
                lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
            except OSError:
                continue
            sizes = {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines}
            heap += sizes.get("Pss_Anon", 0) + sizes.get("Pss_Shmem", 0)
            pss += sizes.get("Pss", 0)
        self.heap, self.pss = max(self.heap, heap), max(self.pss, pss)

    def stop(self) -> None:
        """Ends the thread, if it was started, with a last sample."""
        self._stopped.set()
        if self.is_alive():
            self.join()
        self.sample()


def epochs(loader: object, endless: bool) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The loader's batches, epoch after epoch if endless."""
    while True:
        yield from loader  # type: ignore[misc]
        if not endless:
            return


def report(
    options: argparse.Namespace,
    packages: list[str],
    batches: Callable[[], Iterator[tuple[torch.Tensor, torch.Tensor]]],
    *,
    workers_up: WorkersUp | None = None,
    save: Callable[[], object] | None = None,
) -> None:
    """Runs the warm-up and the measured batches and prints the line of JSON.

    `batches` makes the data set, its loader and its iterator; the clock starts before it is called. CPU seconds and
    memory are the whole process tree's; CPU seconds of the measured batches include what workers prefetch meanwhile.
    """
    memory = Memory()
    memory.sample()
    idle = memory.heap
    if options.memory:
        memory.start()
    start_cpu, start = cpu_seconds(), time.perf_counter()
    start_time = time.time()
    iterator = batches()
    first = first_time = None
    measured, total, values = 0, 0.0, 0
    keys: list[np.ndarray] = []
    cpu_begin, begin = start_cpu, start
    limit = options.warm_up + options.batches if options.batches else None
    count = 0
    for count, (content, batch_keys) in enumerate(itertools.islice(iterator, limit), start=1):
        now = time.perf_counter()
        if first is None:
            first, first_time = now - start, time.time()
        keys.append(np.asarray(batch_keys, dtype=np.int64))
        if count > options.warm_up:
            measured += len(content)
            sampled = content[:, ::8, ::8] if options.kind != "latents" else content[:, :, ::8, ::8].float()
            total += float(sampled.sum())
            values += sampled.numel()
            shape, dtype = list(content.shape[1:]), str(content.dtype).removeprefix("torch.")
        if count == options.warm_up:
            cpu_begin, begin = cpu_seconds(), time.perf_counter()
    end = time.perf_counter()
    end_cpu = cpu_seconds()
    memory.stop()
    if not measured:
        raise SystemExit(f"only {count} batches, all of them warm-up")
    if options.ids:
        np.save(options.ids.format(rank=RANK), np.concatenate(keys))
    state = save() if options.save_state and save else None  # on every rank: some gather
    if options.save_state and RANK == 0:
        options.save_state.write_text(json.dumps(state))
    up = workers_up.last() if workers_up else None
    result = {
        "samples": measured,
        "seconds": end - begin,
        "seconds_total": end - start,
        "cpu_seconds": end_cpu - cpu_begin,
        "cpu_seconds_total": end_cpu - start_cpu,
        "first_batch_seconds": first,
        "workers_up_seconds": up - start_time if up else None,
        "first_batch_after_workers_seconds": first_time - up if up and first_time else None,
        "checksum": total / values,
        "idle_heap_bytes": idle,  # Ray and the imports, before the data set is made
        "peak_heap_bytes": memory.heap,
        "peak_pss_bytes": memory.pss,
        "batches": count,
        "shape": shape,
        "dtype": dtype,
        "versions": {name: importlib.metadata.version(name) for name in [*packages, "torch", "numpy", "pillow"]}
        | {"python": platform.python_version()},
    }
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
