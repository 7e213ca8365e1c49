"""`rayograph pause`, `resume` and `cancel`: what people ask of a generation, wherever its coordinator runs."""

from rayograph.errors import DataError
from rayograph.runs.artifact import RESOLVED, Artifact
from rayograph.sampling.job_state import Wanted, ask, read_state
from rayograph.storage import open_store


def control_job(uri: str, endpoint_url: str | None, wish: Wanted) -> str:
    """Leaves the wish in the artifact; a line on how far it is. Raises DataError where no generation is under way."""
    artifact = Artifact(open_store(uri, endpoint_url), "")
    state = read_state(artifact)
    if state is None or not artifact.store.exists(RESOLVED):
        raise DataError(f"{uri}: expected a generation that has begun, found none")
    if artifact.manifest() is not None:
        raise DataError(f"{uri}: expected a generation under way, this one is done")
    ask(artifact, wish)
    return f"{uri}: {state.samples:,} of {state.total_samples:,} images; asked to be {wish}"
