"""What makes of exported parts a folder that diffusers opens as a pipeline: model_index.json and the files it names."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from rayograph.models.specs import SPEC

PIPELINE, INDEX = "pipeline.py", "model_index.json"
_CLASS, _COMPONENT = "LatentDiffusionPipeline", "class_embedding"
_SCHEDULERS = {"FlowMatchEulerDiscreteScheduler": "FlowMatchEulerDiscreteScheduler"}
"""What samples by a schedule; all others are walked by DDIM, which reads the same fields."""


def pipeline_files(configs: Mapping[str, Mapping[str, Any]], class_names: Sequence[str]) -> dict[str, bytes]:
    """Return files by name, of the configurations of vae, unet, scheduler and conditioner, as far as there are such.

    None of an autoencoder alone, and none where a part is not in diffusers' form.
    """
    parts = ("vae", "unet", "scheduler")
    if any(part not in configs or SPEC in configs[part] for part in parts):
        return {}
    conditioner = configs.get("conditioner", {"kind": "unconditional"})
    index: dict[str, Any] = {
        "_class_name": [PIPELINE.removesuffix(".py"), _CLASS],
        "_diffusers_version": version("diffusers"),
        "vae": ["diffusers", configs["vae"]["_class_name"]],
        "unet": ["diffusers", configs["unet"]["_class_name"]],
        "scheduler": ["diffusers", _SCHEDULERS.get(configs["scheduler"]["_class_name"], "DDIMScheduler")],
    }
    found = {PIPELINE: _source("latent_diffusion.py")}
    match conditioner["kind"]:
        case "unconditional":
            index["conditioner"] = [None, None]
        case "class_label":
            index["conditioner"] = [_COMPONENT, "ClassEmbedding"]
            found[f"conditioner/{_COMPONENT}.py"] = _source(f"{_COMPONENT}.py")
            found["conditioner/class_names.json"] = json.dumps(list(class_names)).encode()
        case _:
            return {}
    return found | {INDEX: (json.dumps(index, indent=2) + "\n").encode()}


def _source(name: str) -> bytes:
    return (files(__package__) / name).read_bytes()
