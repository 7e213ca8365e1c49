"""`rayograph import`: a folder that diffusers saved as an artifact, without a job file or a cluster."""

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import ValidationError

from rayograph.config import ImportModel, Job, Scale
from rayograph.config.reading.explain import explain
from rayograph.config.stage_base import ArtifactType
from rayograph.errors import DataError
from rayograph.models.foreign.model_source import ModelSource, files_of, open_source
from rayograph.pipeline.resolve import resolve
from rayograph.pipeline.runner import run_stage, store_of
from rayograph.runs.terminal.console import say
from rayograph.stages.stage import stage_of

STAGE = "import_model"
Makes = Literal["autoencoder", "diffusion_model"]


def import_folder(
    uri: str, scale: Scale, name: str | None = None, makes: Makes | None = None, image_size: int | None = None
) -> Iterator[str]:
    """Copy the model at `uri` into the profile's store unless it is there; yield its URI, and what a job says of it.

    Raises DataError for a folder that is no model, ConfigError for a name that no job may have.
    """
    source = open_source(uri, scale.access)
    try:
        declared = ImportModel(uri=source.uri, makes=makes or _all_of(source), image_size=image_size or None)
        digest = stage_of(declared).source_digest(declared, scale.access)
        declared = declared.model_copy(update={"sha256": digest})
        job = Job(name=name or _name_of(source.uri), stages={STAGE: declared})
    except ValidationError as error:
        raise explain(error, Job, "") from None
    stage = resolve(job, scale, store_of(scale))[STAGE]
    if stage.artifact.manifest() is None:
        run_stage(stage)
    else:
        say(f"{stage.name:18} committed before  {stage.artifact.uri}")
    yield stage.artifact.uri
    yield f'{declared.makes}="{stage.artifact.uri}"'.replace("diffusion_model=", "model=")


def _all_of(source: ModelSource) -> Makes:
    """A diffusion model where there is one."""
    try:
        files_of(source, ArtifactType.DIFFUSION_MODEL)
    except DataError:
        return "autoencoder"
    return "diffusion_model"


def _name_of(uri: str) -> str:
    """A folder's name as a job may be called: SD VAE-ft → sd-vae-ft."""
    plain = re.sub(r"[^a-z0-9_-]+", "-", uri.rstrip("/").rpartition("/")[2].lower()).strip("-_")
    return plain or "imported"
