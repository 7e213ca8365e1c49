"""Memory of pack, training stream and encode, from ten shards to a thousand: it does not grow with the data."""

import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import command
import numpy as np
import psutil
import pytest

from rayograph.shards.pixels.decode import to_jpeg

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

SHARD_ROWS, SIZE = 16, 64
RAYS_OWN = ("ray::_", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
JOB = """
from rayograph.config import *

job = Job(name="flat", stages={{
    "pack": Pack(source=ImageFolder(uri={uri!r}), image_size=64, held_out_fraction=0.0, samples_per_shard=16,
                 format="jpeg"),
    "train_autoencoder": TrainAutoencoder(
        network=Autoencoder(latent_channels=3, block_out_channels=(8, 8, 8), layers_per_block=1, norm_num_groups=4,
                            mid_block_add_attention=False),
        discriminator=Discriminator(base_channels=8, num_layers=2), perceptual=PerceptualNetwork(channels=(4, 8)),
        total_images=4_096, global_batch_size=64, checkpoint_every_images=4_096,
    ),
    "encode": Encode(),
}})
"""


def make(folder: Path, shards: int) -> Path:
    """A folder of so many shards' images, and the job that packs them."""
    images = folder / "images"
    images.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(shards * SHARD_ROWS):
        noise = draw.integers(0, 256, (SIZE // 4, SIZE // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
        (images / f"{number:06d}.jpg").write_bytes(to_jpeg(noise, 90))
    (folder / "flat.py").write_text(JOB.format(uri=str(images)))
    return folder / "flat.py"


def peak_of(job: Path, stage: str) -> dict[str, int]:
    """Bytes of private and shared memory that no file backs, at the most: of the driver, of the largest worker
    process, and of Ray's own processes together. (How many workers Ray starts ahead is its own affair.)
    """
    arguments = ["run", f"{job}:{stage}", "--on", "cluster/laptop/scale.yaml", "--store", str(job.parent / "store")]
    process = subprocess.Popen(
        [sys.executable, "-m", "rayograph", *arguments],
        cwd=command.ROOT,
        env=command.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    peaks = {"driver": 0, "worker": 0, "cluster": 0}

    def sample() -> None:
        while process.poll() is None:
            now = {"driver": held(process.pid), "worker": 0, "cluster": 0}
            for pid, is_worker in children(process.pid):
                if is_worker:
                    now["worker"] = max(now["worker"], held(pid))
                else:
                    now["cluster"] += held(pid)
            peaks.update({name: max(peaks[name], value) for name, value in now.items()})
            done.wait(0.25)

    done = threading.Event()
    sampler = threading.Thread(target=sample)
    sampler.start()
    _, said = process.communicate(timeout=1800)
    done.set()
    sampler.join()
    assert process.returncode == 0, said.decode()[-3000:]
    return peaks


def children(pid: int) -> list[tuple[int, bool]]:
    """All descendants, and whether each is a Ray worker that runs our tasks and actors."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.Error):
                title = " ".join(child.cmdline())
                found.append((child.pid, title.startswith("ray::") and not title.startswith(RAYS_OWN)))
    return found


def held(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return 0
    sizes = {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines}
    return sizes.get("Pss_Anon", 0) + sizes.get("Pss_Shmem", 0)


def test_memory_stays_flat_from_ten_shards_to_a_thousand(tmp_path: Path) -> None:
    few, many = (make(tmp_path / str(shards), shards) for shards in (10, 1000))
    for stage in ("pack", "train_autoencoder", "encode"):
        small, large = peak_of(few, stage), peak_of(many, stage)
        growth = {name: large[name] / small[name] - 1 for name in small}
        shown = {name: f"{small[name] >> 20} → {large[name] >> 20} MiB ({growth[name]:+.1%})" for name in small}
        print(f"{stage}: {shown}")
        assert max(growth.values()) <= 0.10, (stage, shown)
