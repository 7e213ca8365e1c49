"""Joining a Ray cluster, or starting one on this machine for the length of a command."""

import logging
import os
import secrets
from pathlib import Path

import rayograph
from rayograph.config import Scale
from rayograph.errors import ResourceError


def connect(scale: Scale) -> None:
    """Idempotent. Inside a submitted job, or with RAY_ADDRESS set, it is that cluster, whatever the profile says.

    On a joined cluster this very package travels to the workers (`py_modules`), so nodes need its dependencies only.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    joined = os.environ.get("RAY_ADDRESS") or (scale.ray.address if scale.ray.address != "local" else None)
    if joined is None and "RAY_AUTH_MODE" not in os.environ:
        # Ray's own ports are open to this machine's other users and maybe beyond: a fresh secret keeps them out.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    import ray

    if ray.is_initialized():
        return
    if joined is not None:
        package = str(Path(rayograph.__file__).parent)
        ray.init(
            address=joined,
            runtime_env={"py_modules": [package]},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    else:
        ray.init(
            address="local",
            num_cpus=scale.ray.local_cpus or os.cpu_count(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    _quieten()


def _quieten() -> None:
    """Ray's libraries set their own loggers when imported; what they say of every data set is not for our users."""
    import ray.data
    import ray.serve
    import ray.train

    for name in (ray.data.__name__, ray.serve.__name__, ray.train.__name__):
        logging.getLogger(name).setLevel(logging.ERROR)


def require(scale: Scale, what: str, *, cpus: float, gpus: float) -> None:
    """Raises ResourceError now, where Ray would wait forever for what the cluster will never have."""
    import ray

    if scale.ray.autoscaling:
        return
    has = ray.cluster_resources()
    for resource, wanted in (("CPU", cpus), ("GPU", gpus)):
        if wanted > has.get(resource, 0) + 1e-9:
            raise ResourceError(
                f"{what}: expected {wanted:g} {resource}s in the cluster, got {has.get(resource, 0):g}: "
                "a smaller scale profile or a larger cluster is needed"
            )
