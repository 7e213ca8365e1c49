"""Fixtures that several folders of tests share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import ceph_gateway
import pytest
import s3_servers


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
    if not ceph_gateway.installed():
        pytest.skip("Ceph's gateway is not installed")
    with (
        s3_servers.credentials(),
        tempfile.TemporaryDirectory() as folder,
        ceph_gateway.ceph_server(Path(folder)) as server,
    ):
        yield server
