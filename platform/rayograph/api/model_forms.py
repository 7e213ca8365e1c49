"""What models can be asked for: read once each off what they are committed with, which cannot change."""

import logging
from collections.abc import Callable
from operator import attrgetter
from threading import Lock

from cachetools import LRUCache, cachedmethod

from rayograph.api.schemas import ModelField, ModelForm
from rayograph.conditioning.form import FormField
from rayograph.errors import RayographError
from rayograph.runs.artifact import Artifact
from rayograph.runs.manifest import Manifest
from rayograph.sampling.requests.model_spec import ModelSpec

log = logging.getLogger(__name__)

ReadSpec = Callable[[Artifact, Manifest], ModelSpec]


class ModelForms:
    """Knows no condition: a model's conditioner says what it takes."""

    def __init__(self, read_spec: ReadSpec) -> None:
        self._read_spec, self._lock = read_spec, Lock()
        self._specs: LRUCache[str, ModelSpec] = LRUCache(256)

    def of(self, model: Artifact) -> ModelForm:
        """Raises CheckpointError or DataError for what is no whole model."""
        spec = self._spec(model)
        takes = [ModelField.model_validate(field, from_attributes=True) for field in spec.conditioner.form()]
        return ModelForm(side=spec.side, multiple=spec.multiple, takes=takes)

    def fields(self, model: Artifact) -> tuple[FormField, ...]:
        """Return its fields; none of a model that cannot be read, which is told where it is drawn from."""
        try:
            return self._spec(model).conditioner.form()
        except RayographError as error:
            log.warning("%s", error)
            return ()

    @cachedmethod(attrgetter("_specs"), key=lambda _, model: model.uri, lock=attrgetter("_lock"))
    def _spec(self, model: Artifact) -> ModelSpec:
        return self._read_spec(model, model.committed())
