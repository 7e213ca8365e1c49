"""`rayograph serve`: the HTTP app on Ray Serve, until it is interrupted; what it started goes on without it."""

import errno
import hashlib
import logging
import os
import re
import socket
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import JsonValue

from rayograph.api.guards.security import LOOPBACK
from rayograph.api.images import Plan
from rayograph.api.job_service import StoreJobService
from rayograph.api.job_supervisor import ensure
from rayograph.config import Job, Scale
from rayograph.config.address import LOCAL, starts_a_cluster
from rayograph.errors import ConfigError, RayographError, ResourceError
from rayograph.pipeline.preflight import check_machine
from rayograph.pipeline.ray_cluster import connect
from rayograph.ray_compat import serve_address
from rayograph.runs.artifact import Artifact
from rayograph.runs.stage_context import StageContext
from rayograph.runs.terminal.console import OutputError, put, say
from rayograph.stages.stage import stage_of
from rayograph.storage import Access, open_store

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from fastapi import FastAPI

Drawn = tuple[np.ndarray, bytes, dict[str, JsonValue]]
"""Pixels (h, w, 3) uint8, the file and the record of an image that was drawn again."""

APPLICATION = "rayograph-http"
TOKEN_VARIABLE = "RAYOGRAPH_TOKEN"
WATCHED_EVERY_SECONDS = 60.0
"""Until a submitted job whose actor was lost for good has a new one."""
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,1024}")


def serve_http(scale: Scale, host: str, port: int, token_file: str | None, allowed: Sequence[str] = ()) -> None:
    """Serves until interrupted. Raises ConfigError for another host than loopback without a token."""
    from ray import serve

    digest = _digest_of_token(host, token_file)
    store = open_store(scale.store, scale.access)
    store.check_access()
    scale = scale.model_copy(update={"store": store.uri})
    check_machine(scale)
    if starts_a_cluster(scale):  # elsewhere Serve itself may be what listens there
        _check_free(host, port)
    connect(scale)
    _listen(host, port)
    deployment = serve.deployment(
        serve.ingress()(Front),
        name="Front",
        num_replicas=1,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=64,
        logging_config={"enable_access_log": False},
    )
    try:
        serve.run(deployment.bind(scale, digest, list(allowed)), name=APPLICATION, route_prefix="/")
        shown = f"[{host}]" if ":" in host else host
        with suppress(OutputError):  # nobody reads that here; people may come all the same
            put(f"http://{shown}:{port}/")
        threading.Event().wait()
    except KeyboardInterrupt:
        stays = "" if scale.ray.address == LOCAL else "; jobs go on in the cluster"
        say("")
        say(f"rayograph: the HTTP app is gone{stays}")
    finally:
        serve.delete(APPLICATION)


class Front:
    """The replica: builds the app where it runs, for apps cannot be pickled, and keeps awake what is under way.

    It is told the token's digest only: what a deployment is given can be read by anybody in the cluster.
    """

    def __init__(self, scale: Scale, token_sha256: str | None, allowed: Sequence[str]) -> None:
        self._scale, self._token_sha256 = scale, token_sha256
        self._store = open_store(scale.store, scale.access)
        self._service = StoreJobService(
            self._store, scale, partial(_start, scale), partial(_draw_again_elsewhere, scale), allowed, prepare
        )
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            try:
                self._service.wake_all()
            except RayographError as error:  # a store that is away for a while
                log.warning("%s", error)
            except Exception:  # a defect of ours: told whole, and looked after again all the same
                log.exception("the jobs of %s", self._store.uri)
            time.sleep(WATCHED_EVERY_SECONDS)

    def __serve_build_asgi_app__(self) -> "FastAPI":
        from rayograph.api.app import build_app

        return build_app(self._store, self._service, open_plan, self._token_sha256)


def open_plan(artifact: Artifact) -> Plan | None:
    """Imported when first wanted: it brings pyarrow and torch."""
    from rayograph.sampling.requests.plan import open_plan as opened

    found: Plan | None = opened(artifact)
    return found


def prepare(stage: StageContext) -> None:
    """Checks a request whole and fixes it: a missing column, an unknown class or a broken file is one line, now."""
    stage_of(stage.declared).prepare(stage.declared, stage)


def _start(scale: Scale, artifact: Artifact, job: Job, target: str) -> None:
    ensure(scale, artifact, job, target)


def _draw_again_elsewhere(scale: Scale, artifact: Artifact, number: int) -> Drawn:
    """In a task of its own, with a replica's share of a machine: the app itself loads no model."""
    import ray

    gpus = scale.sampling.gpus_per_replica or scale.gpus
    task = ray.remote(_draw_again).options(num_cpus=scale.sampling.cpus_per_replica, num_gpus=gpus, max_retries=2)
    found: Drawn = ray.get(task.remote(artifact, number, scale.access, scale.device))
    return found


def _draw_again(artifact: Artifact, number: int, endpoint_url: Access, device: str) -> Drawn:
    from rayograph.sampling.reproduce import draw_again

    found: Drawn = draw_again(artifact, number, endpoint_url, device)
    return found


def _check_free(host: str, port: int) -> None:
    """Raises ResourceError where something listens there, ConfigError where nobody may: before Ray is started."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except socket.gaierror as error:
        raise ConfigError(f"--host: expected a name or address of this machine, got {host}: {error.strerror}") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ResourceError(f"--port: expected a free port on {host}, got {port}, which is taken") from None
        raise ConfigError(f"--port: cannot listen on {host}:{port}: {error.strerror}") from None


def _listen(host: str, port: int) -> None:
    """Starts Serve's proxy, or finds it where it is wanted: Serve keeps the address that it was first started with.

    An address that is only nearly right will not do: what asks for no token must not be heard by the network.
    """
    from ray import serve

    running = serve.status()
    if running.applications or running.proxies:
        has = serve_address()
        if running.proxies and has == (host, port):
            return
        if running.applications:
            listens = f"which listens on {has[0]}:{has[1]}" if running.proxies else "which listens nowhere"
            raise ResourceError(
                f"--port: expected a cluster whose Ray Serve is idle, as its address cannot be changed to "
                f"{host}:{port}, got one, {listens}, with {', '.join(sorted(running.applications))}"
            )
    serve.shutdown()  # nothing at all where none runs
    serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port})


def _digest_of_token(host: str, token_file: str | None) -> str | None:
    token = os.environ.get(TOKEN_VARIABLE)
    where = TOKEN_VARIABLE
    if token_file is not None:
        token, where = _read_token(token_file), "--token-file"
    if token is None:
        if host not in LOOPBACK:
            raise ConfigError(
                f"--host: expected 127.0.0.1, or a token (--token-file, {TOKEN_VARIABLE}) beside it, got {host}"
            )
        return None
    if not _TOKEN.fullmatch(token):
        raise ConfigError(f"{where}: expected a token of 16 letters, digits and ._~+/=- or more, got another")
    return hashlib.sha256(token.encode()).hexdigest()


def _read_token(path: str) -> str:
    try:
        file = Path(path).expanduser()
        readable = file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file: {path}: {getattr(error, 'strerror', None) or 'not text'}") from error
    if readable:
        say(f"rayograph: {path}: others may read this token: chmod 600 {path}")
    return token
