"""How many images go through the networks at once: measured where they will be drawn, then kept with the job.

All replicas of a job use the same number, so that a unit drawn again comes to the same bytes.
"""

import json
import os
import time

import torch

from rayograph.runs.artifact import Artifact
from rayograph.sampling.pipeline import DiffusionModel
from rayograph.sampling.requests.sample_batch import SampleBatch

MEMORY_SHARE = 0.85
"""Of what is free before, that a batch may take."""
GAIN = 1.05
"""A larger batch that is not faster by as much is not worth its memory."""


def agreed_batch_size(target: Artifact, model: DiffusionModel, draws: SampleBatch, declared: int | str) -> int:
    """The declared one, or what the first replica to draw images of this size measured, by kind of device."""
    if isinstance(declared, int):
        return declared
    group = draws.group
    key = target.key(f"request/batch-{group.width}x{group.height}-{_device_name(model.device)}.json")
    if not target.store.exists(key):
        size = measured_batch(model, draws)
        target.store.put_if_absent(key, json.dumps({"batch_size": size}).encode())
    return int(json.loads(target.store.read(key))["batch_size"])


def measured_batch(model: DiffusionModel, draws: SampleBatch) -> int:
    """What suits the model's device. Compiles nothing: every size would be compiled for itself, minutes each, and torch
    gives up at the eighth.
    """
    with torch.compiler.set_stance("force_eager"):
        return _largest_batch(model, draws) if model.device.type == "cpu" else _fastest_batch(model, draws)


def _largest_batch(model: DiffusionModel, draws: SampleBatch) -> int:
    """The whole unit, or the power of two that memory holds: by what one image takes more, not by the clock.

    CPUs gain little from batches, and a machine that does other things too would time another one each time.
    """
    free, few = _free_bytes(model.device), min(4, len(draws))
    taken = [_measured(model, draws[:size])[1] for size in (1, few)]
    each = max(taken) / few if few == 1 else max(1.0, (taken[1] - taken[0]) / (few - 1))
    fitting = max(1, int(MEMORY_SHARE * free / max(1.0, each)))
    return min(len(draws), 1 << (fitting.bit_length() - 1))


def _fastest_batch(model: DiffusionModel, draws: SampleBatch) -> int:
    """1, 2, 4, … images of a unit, as long as there is memory for twice as many and it still pays.

    The smallest of those that come near the fastest: what is beyond only takes memory.
    """
    rates: dict[int, float] = {}
    size = 1
    while size <= len(draws):
        free = _free_bytes(model.device)
        rates[size], taken = _measured(model, draws[:size])
        best = max(rates, key=lambda tried: rates[tried])
        if 2 * taken > MEMORY_SHARE * free or size >= 4 * best:  # twice doubled, and no faster
            break
        size *= 2
    fastest = max(rates.values())
    return min(tried for tried, rate in rates.items() if rate * GAIN >= fastest)


def _measured(model: DiffusionModel, draws: SampleBatch) -> tuple[float, int]:
    """Images/s and bytes of one batch, at two steps instead of all: networks cost the same at every one."""
    sampler = draws.sampler.model_copy(update={"num_inference_steps": min(2, draws.sampler.num_inference_steps)})
    noise, columns = model.told(draws)
    seconds = []
    before = _start_watching(model.device)
    for _ in range(3):  # the first one plans and allocates
        started = time.perf_counter()
        model.sample_loop(noise, columns, sampler)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        seconds.append(time.perf_counter() - started)
    return len(draws) / min(seconds[1:]), max(0, _most_used(model.device) - before)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _start_watching(device: torch.device) -> int:
    """Bytes in use now; from here on the most is kept."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return int(torch.cuda.memory_allocated(device))
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # sets the process's peak back to what it is now
    return _most_used(device)


def _most_used(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with open("/proc/self/status") as file:
        (line,) = (line for line in file if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _device_name(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())
