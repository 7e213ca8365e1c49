"""Walking back from an artifact to everything it was made from."""

from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import Manifest
from rayograph.storage import Access, open_store

Ancestry = list[tuple[str, Manifest]]


def ancestors(artifact: Artifact, endpoint_url: Access) -> Ancestry:
    """(URI, manifest) of the artifact and of all its ancestors, each once and after everything made from it."""
    found: dict[str, Manifest] = {}
    finished: list[str] = []

    def visit(uri: str, here: Artifact) -> None:
        if uri in found:
            return
        found[uri] = here.committed()
        for parent in found[uri].parents:
            visit(parent.uri, Artifact(open_store(parent.uri, endpoint_url), ""))
        finished.append(uri)

    visit(artifact.uri, artifact)
    return [(uri, found[uri]) for uri in reversed(finished)]
