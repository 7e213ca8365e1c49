"""Who runs a submitted job: a detached, named Ray actor, one an artifact, that the cluster starts again when it dies.

The actor outlives the app and the command that served it; after the loss of the whole cluster the next app starts it
anew. Either way the job goes on from its committed shards.
"""

import logging
import threading
import time
from datetime import UTC, datetime
from functools import partial

from rayograph.api.jobs import id_of
from rayograph.config import Job, Scale
from rayograph.errors import RayographError, ResourceError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import digest_of
from rayograph.sampling.job_state import JobState, read_state, wanted, write_state

NAMESPACE = "rayograph"
ATTEMPTS = 5
"""Of a job that ends with a defect rather than a refusal; shards committed meanwhile stay."""
WAIT_SECONDS = 60.0

log = logging.getLogger(__name__)


class JobSupervisor:
    """Runs one job in a thread of its own, from the moment it is made: a restarted actor goes on by itself."""

    def __init__(self, artifact: Artifact, job: Job, scale: Scale, target: str) -> None:
        self._artifact, self._run = artifact, partial(_run, artifact, job, scale, target)
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def here(self) -> bool:
        """That it lives."""
        return True

    def _keep(self) -> None:
        import ray

        self._run()
        # The one end of an actor that Ray does not take for a death.
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)


def ensure(scale: Scale, artifact: Artifact, job: Job, target: str) -> None:
    """Starts the artifact's actor unless it lives. Raises ResourceError where the cluster gives it no place."""
    import ray
    from ray.exceptions import GetTimeoutError, RayActorError

    options = {"num_cpus": 0, "max_restarts": -1, "lifetime": "detached", "get_if_exists": True}
    kept = ray.remote(JobSupervisor).options(name=name_of(artifact), namespace=NAMESPACE, **options)
    for _ in range(ATTEMPTS):
        try:
            ray.get(kept.remote(artifact, job, scale, target).here.remote(), timeout=WAIT_SECONDS)
            return
        except RayActorError:
            time.sleep(0.5)  # its predecessor has just ended, and Ray still knows the name
        except GetTimeoutError:
            break
    raise ResourceError(f"{artifact.uri}: the cluster started no coordinator within {WAIT_SECONDS:g} s")


def name_of(artifact: Artifact) -> str:
    """One an artifact, over all stores that a cluster serves."""
    return f"{id_of(artifact.path)}-{digest_of(artifact.store.uri)[:8]}"


def _run(artifact: Artifact, job: Job, scale: Scale, target: str) -> None:
    from rayograph.pipeline.runner import run_job

    for attempt in range(1, ATTEMPTS + 1):
        try:
            run_job(job, scale, target)
            return
        except RayographError as error:
            log.warning("%s: %s", artifact.uri, error)
            _write_failure(artifact, str(error))
            return
        except Exception as error:  # Ray's and CUDA's are of every kind; most pass
            log.exception("%s: attempt %d of %d", artifact.uri, attempt, ATTEMPTS)
            if attempt == ATTEMPTS:
                _write_failure(artifact, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        time.sleep(2.0**attempt)


def _write_failure(artifact: Artifact, line: str) -> None:
    """For ends before, or outside, the coordinator's own words: a cancelled job ends with a refusal too."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    spoken = read_state(artifact) or JobState(
        phase="failed", samples=0, total_samples=0, units=0, total_units=0, started=now, updated=now
    )
    if wanted(artifact) == "cancelled":
        ended = {"phase": "cancelled", "error": None}
    elif spoken.phase == "failed" and spoken.error is not None:
        return
    else:
        ended = {"phase": "failed", "error": line}
    still = {"updated": now, "images_per_second": None, "seconds_left": None, "replicas": 0}
    write_state(artifact, spoken.model_copy(update={**ended, **still}))
