"""Twenty thousand images while replicas, coordinators, Serve's controller and once everything are killed with SIGKILL.

The store is a real S3 server behind a network that fails now and then.
"""

import os
import random
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import command
import psutil
import pytest
from changing_cluster import nodes
from fault_proxy import Fault, at_random, fault_proxy
from generating import arguments, artifact_in, digests, generate, write_job, write_scale
from killing import processes
from s3_servers import S3Server

from rayograph.storage import open_store

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

IMAGES, UNIT = 20_000, 100
KILLS = ["replica"] * 8 + ["controller"] * 3 + ["coordinator"] * 5
FAULTS = at_random(
    seed=5,
    chances={Fault("error"): 0.02, Fault("slow down"): 0.02, Fault("reset"): 0.02, Fault("error", accepted=True): 0.02},
    methods=("GET", "PUT"),
)
NAMES = {"replica": "ray::ServeReplica", "controller": "ray::ServeController"}


def test_twenty_thousand_images_survive_everything(trained_store: Path, ceph_s3: S3Server, tmp_path: Path) -> None:
    (model,) = (trained_store / "digits" / "train_diffusion").iterdir()
    job = write_job(tmp_path, str(model), f"num_samples={IMAGES}, unit_size={UNIT}")
    quiet = generate(job, write_scale(tmp_path, "1", 50), tmp_path / "quiet", timeout=2400)
    assert quiet.returncode == 0, quiet.stderr[-4000:]
    expected = artifact_in(tmp_path / "quiet")

    draw, bucket, log = random.Random(7), ceph_s3.new_bucket(), tmp_path / "log"
    kills = draw.sample(KILLS, len(KILLS))
    kills.insert(len(kills) // 2, "everything")
    with fault_proxy(ceph_s3.endpoint_url, FAULTS) as proxy, ExitStack() as stack:

        def shards() -> int:
            """By the server itself, without the faults."""
            return sum(info.key.endswith(".index") for info in open_store(bucket, ceph_s3.endpoint_url).list("many/"))

        cluster = stack.enter_context(nodes(4))
        scale = write_scale(tmp_path, "3", 50, cluster.address, "max_attempts: 12")
        words = ("--endpoint-url", proxy.url)
        driver = stack.enter_context(command.started(arguments(job, scale, bucket, *words), log))
        done, killed = 0, []
        while kills:
            # Each kill after some progress, a few of the two hundred shards: a faster machine does not get further.
            before, began, more = done, time.monotonic(), draw.randint(1, 3)
            while done < before + more:
                assert driver.poll() is None, log.read_text()[-4000:]
                assert time.monotonic() < began + 600, "hardly a shard for ten minutes"
                time.sleep(0.05)
                done = shards()
            time.sleep(draw.uniform(0.0, 1.0) * min(3.0, (time.monotonic() - began) / more))
            kind = kills.pop()
            if kind in NAMES:
                victims = processes(NAMES[kind], cluster.pid)
                if not victims:  # the last one killed is not back yet
                    kills.append(kind)
                    continue
                draw.choice(victims).kill()
            else:
                os.killpg(driver.pid, signal.SIGKILL)
                driver.wait()
                if kind == "everything":
                    for process in [*psutil.Process(cluster.pid).children(recursive=True), psutil.Process(cluster.pid)]:
                        with suppress(psutil.NoSuchProcess):
                            process.kill()
                    cluster = stack.enter_context(nodes(4))
                    scale = write_scale(tmp_path, "3", 50, cluster.address, "max_attempts: 12")
                driver = stack.enter_context(command.started(arguments(job, scale, bucket, *words), log))
            killed.append(kind)
        assert driver.wait(1800) == 0, log.read_text()[-4000:]
    found = artifact_in(bucket, ceph_s3.endpoint_url)
    manifest = found.committed()
    print("killed:", ", ".join(killed), "; sent again in the last attempt:", manifest.facts.get("lost"))
    assert len(killed) == 17
    assert manifest.samples == IMAGES
    assert digests(found) == digests(expected)  # the same bytes, and no shard that the manifest does not know
    assert set(digests(found)) == {file.path for file in manifest.files if file.path.startswith("shards/")}
    assert not found.names("dead/")
    assert not list(found.problems(manifest))
