"""Fixtures that several folders of tests share."""

import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import ceph_gateway
import command
import needs
import pytest
import s3_servers

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job, whose children would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def moto_s3() -> Iterator[s3_servers.S3Server]:
    """An imitation of S3, light and always there."""
    with (
        s3_servers.credentials(),
        tempfile.TemporaryDirectory() as folder,
        s3_servers.moto_server(Path(folder)) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def ceph_s3() -> Iterator[s3_servers.S3Server]:
    """A real S3 server, where it is installed."""
    needs.need(*needs.CEPH)
    with (
        s3_servers.credentials(),
        tempfile.TemporaryDirectory() as folder,
        ceph_gateway.ceph_server(Path(folder)) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def any_s3(request: pytest.FixtureRequest) -> s3_servers.S3Server:
    """The real server where it is installed, the imitation elsewhere."""
    server: s3_servers.S3Server = request.getfixturevalue("ceph_s3" if needs.installed(*needs.CEPH) else "moto_s3")
    return server


@pytest.fixture(scope="session")
def trained_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with every stage but sample and evaluate committed, and which samples the trainings saw."""
    store = tmp_path_factory.mktemp("trained") / "store"
    command.run(":train_diffusion", store, "--set", "scale.ingest.log_samples=true")
    return store


@pytest.fixture
def new_store(trained_store: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copies of it under names of their own."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(trained_store, tmp_path / name))

    return copy
