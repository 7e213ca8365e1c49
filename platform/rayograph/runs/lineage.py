"""What an artifact was made from: how a manifest names a parent, where that is found, and all of it back to the data.

A parent in the same store is named from its child's folder, `../../pack/c9ad5371b3d67cb1`, so that a store may be
copied, renamed or mounted elsewhere; one in another place by its URI. Older manifests hold URIs only: of those, and of
what lay in a store that was moved, the artifact of the same job, stage and key in the child's own store is taken where
it has the digest that the child holds.
"""

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from rayograph.config.stage_base import ArtifactType
from rayograph.errors import DataError, StorageError
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import Manifest
from rayograph.storage import Access, open_store
from rayograph.storage.object_store import join_uri

UP = "../"
_NO_NAME = {"", ".", ".."}
_PLACE = re.compile(r"(?:^|.*/)([^/]+/[^/]+/[0-9a-f]{16})/?")


@dataclass(frozen=True)
class LineageNode:
    """An artifact among another's ancestors; `parents` are where those of its manifest were found, in its order."""

    artifact: Artifact
    manifest: Manifest
    parents: tuple[Artifact, ...]

    @property
    def uri(self) -> str:
        """Where it lies now."""
        return self.artifact.uri


def address(child: Artifact, parent: Artifact) -> str:
    """Return what the child's records call the parent: relative to its folder within a store, a URI elsewhere."""
    start = join_uri(child.store.uri, "")
    inside = parent.uri.removeprefix(start)
    if not child.path or not parent.uri.startswith(start) or _NO_NAME & set(inside.split("/")):
        return parent.uri
    relative = posixpath.relpath(inside, child.path)
    return relative if relative.startswith(UP) else parent.uri


def find(child: Artifact, uri: str, digest: str, access: Access) -> Artifact:
    """Return where what the child's records call `uri` lies now: of two places, the one that holds `digest`."""
    if uri.startswith(UP):
        return _relative(child, uri, access)
    place = place_in_store(uri)
    if place is not None:
        near = _in_store_of(child, place, access)
        if near is not None and near.uri != uri and _holds(near, digest):
            return near
    return Artifact(open_store(uri, access), "")


def tars_of(artifact: Artifact, manifest: Manifest, access: Access) -> Artifact:
    """Return where the tars of an artifact lie, which may be another's, or no artifact's at all."""
    if manifest.base_uri is None:
        return artifact
    if manifest.base_uri.startswith(UP):
        return _relative(artifact, manifest.base_uri, access)
    return Artifact(open_store(manifest.base_uri, access), "")


def place_in_store(uri: str) -> str | None:
    """<store>/digits/pack/0123456789abcdef → digits/pack/0123456789abcdef; None for the URI of anything else."""
    found = _PLACE.fullmatch(uri)
    return None if found is None else found[1]


def ancestors(artifact: Artifact, access: Access) -> list[LineageNode]:
    """Return the artifact and all its ancestors, each once and after everything made from it.

    Raises DataError for one that is not there.
    """
    found: dict[str, LineageNode] = {}
    seen: set[str] = set()

    def visit(here: Artifact) -> None:
        if here.uri in seen:
            return
        seen.add(here.uri)
        manifest = here.committed()
        parents = tuple(find(here, parent.uri, parent.digest, access) for parent in manifest.parents)
        for parent in parents:
            visit(parent)
        found[here.uri] = LineageNode(here, manifest, parents)

    visit(artifact)
    return list(reversed(found.values()))


def data_sets(nodes: Iterable[LineageNode], but: Artifact | None = None) -> set[str]:
    """Return the digests of all images among ancestors, but those of one artifact: what a model was learned from."""
    return {
        node.manifest.digest for node in nodes if node.manifest.type is ArtifactType.IMAGES and node.artifact != but
    }


def _relative(child: Artifact, uri: str, access: Access) -> Artifact:
    """../../pack/0123 of <store>/digits/encode/4567 is <store>/digits/pack/0123."""
    steps = uri.split("/")
    ups = next((number for number, step in enumerate(steps) if step != ".."), len(steps))
    rest = steps[ups:]
    within = child.path.split("/") if child.path else []
    if rest and ups <= len(within) and not _NO_NAME & set(rest):
        return Artifact(child.store, "/".join([*within[: len(within) - ups], *rest]))
    above = child.uri.rstrip("/").split("/")
    fewest = 3 if "://" in child.uri else 1  # s3://bucket, or the root of a disk
    if len(above) - ups < fewest or not rest or _NO_NAME & set(rest):
        raise DataError(f"{child.uri}: expected parents within its store, got {uri!r}")
    return Artifact(open_store("/".join(above[: len(above) - ups]) or "/", access), "/".join(rest))


def _in_store_of(child: Artifact, place: str, access: Access) -> Artifact | None:
    """What lies at a place of the store that the child, <store>/job/stage/key, is in."""
    if place_in_store(child.uri) is None:
        return None
    try:
        return _relative(child, f"../../../{place}", access)
    except DataError:
        return None


def _holds(artifact: Artifact, digest: str) -> bool:
    try:
        manifest = artifact.manifest()
    except (DataError, StorageError):  # then the place that was named is looked at, and says what is wrong
        return False
    return manifest is not None and manifest.digest == digest
