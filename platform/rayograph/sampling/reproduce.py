"""One image of a generation, drawn once more from what its artifact says: no other sample is needed for it."""

import json
from dataclasses import replace

import numpy as np
from pydantic import JsonValue

from rayograph.config import ImageFile, Marking
from rayograph.errors import DataError, MissingObjectError
from rayograph.runs.artifact import Artifact
from rayograph.runs.lineage import address, find
from rayograph.sampling.marking.watermark import Watermark
from rayograph.sampling.pipeline import DiffusionModel
from rayograph.sampling.requests.plan import open_plan
from rayograph.sampling.work_unit import Files, Origin
from rayograph.storage import Access

MODEL = "request/model.json"


def keep_origin(artifact: Artifact, origin: Origin, model: Artifact, image: ImageFile, marking: Marking) -> None:
    """Notes in the artifact what draws its images, and as which files they are kept."""
    said = {
        "uri": address(artifact, model),
        "model": origin.model,
        "data": list(origin.data),
        "image": image.model_dump(mode="json"),
        "watermark": marking.watermark,
    }
    artifact.write(MODEL, json.dumps(said, indent=1).encode())


def draw_again(
    artifact: Artifact, number: int, endpoint_url: Access, device: str = "cpu"
) -> tuple[np.ndarray, bytes, dict[str, JsonValue]]:
    """Sample `number` of a generation, drawn alone: pixels (h, w, 3) uint8, its file without credentials, its record.

    Raises DataError for a number it does not have, and for a model that is not the one it was drawn with.
    """
    plan = open_plan(artifact)
    try:
        said = json.loads(artifact.read(MODEL))
    except MissingObjectError:
        plan = None
    if plan is None:
        raise DataError(f"{artifact.uri}: expected a generation with its plan, found none")
    unit, row = plan.place(number)
    model = find(artifact, said["uri"], said["model"], endpoint_url)
    digest = model.committed().digest
    if digest != said["model"]:
        raise DataError(f"{model.uri}: expected the model of digest {said['model']}, found {digest}")
    origin = Origin(artifact.path, plan.digest, said["model"], tuple(said["data"]))
    loaded = DiffusionModel.load(model, device)
    plan = replace(plan, conditioner=loaded.conditioner.conditioner)
    draws = plan.draws(plan.unit(unit))[row : row + 1]
    pixels = loaded.draw_rows(draws)[0].numpy()
    record = origin.record(draws, 0)
    watermark = None if said["watermark"] is None else Watermark(said["watermark"]).hide
    if watermark is not None:
        pixels = watermark(pixels)
    return pixels, Files(ImageFile.model_validate(said["image"])).bytes_of(pixels, record), record
