"""`job.yaml`: the resolved job and profile, and which of the job's stages an artifact is. Written when work starts."""

from dataclasses import dataclass

import yaml
from pydantic import ValidationError

from rayograph.config import Job, Scale
from rayograph.config.reading.explain import explain
from rayograph.config.stage_base import StageBase
from rayograph.errors import ConfigError, DataError
from rayograph.runs.artifact import RESOLVED, Artifact
from rayograph.runs.manifest import Parent


@dataclass(frozen=True)
class JobRecord:
    """What an artifact is to be, and on which profile its work began."""

    job: Job
    scale: Scale
    stage: str
    parents: tuple[Parent, ...] | None = None
    """What it is made from, as its manifest will say; None where that is not known yet, or was not written down."""

    @property
    def declared(self) -> StageBase:
        return self.job.stages[self.stage]

    def to_bytes(self) -> bytes:
        """Return the file's contents."""
        record: dict[str, object] = {
            "stage": self.stage,
            "job": self.job.model_dump(mode="json"),
            "scale": self.scale.model_dump(mode="json"),
        }
        if self.parents is not None:
            record["parents"] = [parent.model_dump(mode="json") for parent in self.parents]
        return yaml.safe_dump(record, sort_keys=False, allow_unicode=True).encode()


def read_job(artifact: Artifact) -> JobRecord:
    """Return what an artifact's job file says.

    Raises DataError naming it where it is damaged, or of another version; MissingObjectError where nothing was begun.
    """
    where = artifact.store.uri_of(artifact.key(RESOLVED))
    try:
        record = yaml.safe_load(artifact.read(RESOLVED))
        job, scale, stage = record["job"], record["scale"], record["stage"]
        parents = record.get("parents")
        known = None if parents is None else tuple(map(Parent.model_validate, parents))
        found = JobRecord(Job.model_validate(job), Scale.model_validate(scale), stage, known)
        if stage not in found.job.stages:
            raise KeyError(stage)
    except ValidationError as error:
        model = Scale if error.title == Scale.__name__ else Job
        raise DataError(f"{where}: not a job of this version: {explain(error, model, '')}") from None
    except ConfigError as error:
        raise DataError(f"{where}: not a job of this version: {error}") from None
    except (yaml.YAMLError, ValueError, ArithmeticError, RecursionError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{where}: not a resolved job: {type(error).__name__}: {reason}") from None
    return found
