"""Latent diffusion on a Ray cluster, without losing a sample, a step or an image."""

from typing import TYPE_CHECKING

from rayograph.version import VERSION

if TYPE_CHECKING:
    from rayograph.ingest.opening import OpenArtifact

__version__ = VERSION


def open(uri: str, endpoint_url: str | None = None) -> "OpenArtifact":
    """Open a committed artifact, to look inside: its manifest, its samples for webdataset or Ray Data.

    Raises DataError where none is committed.
    """
    from rayograph.ingest.opening import open_artifact  # brings webdataset, and with it torch

    return open_artifact(uri, endpoint_url)
