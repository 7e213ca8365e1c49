"""A model card: what a folder holds, what it was made from, and how to draw with it in three lines."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rayograph.runs.origins import Origin

CARD = "README.md"


def model_card(
    name: str,
    made_from: Sequence[tuple[str, str]],
    origins: Sequence[Origin],
    figures: Mapping[str, float],
    facts: Mapping[str, Any],
    opens: bool,
) -> bytes:
    """Return the card's Markdown. `made_from` are stages and their digests, the data last; `opens` as a pipeline."""
    head = ["---", "library_name: diffusers", "tags: [rayograph, latent-diffusion]", "---", "", f"# {name}", ""]
    return "\n".join([*head, *_drawing(facts, opens), *_told(made_from, origins, figures, facts), ""]).encode()


def _drawing(facts: Mapping[str, Any], opens: bool) -> list[str]:
    if not opens:
        return ["Its parts open one by one with `from_pretrained`; the whole with `rayograph import`.", ""]
    names = [str(name) for name in facts.get("class_names") or ()]
    asked = f"classes=[{json.dumps(names[0])}], guidance_scale=1.5, " if names else ""
    return [
        "```python",
        "from diffusers import DiffusionPipeline",
        'pipeline = DiffusionPipeline.from_pretrained("…", trust_remote_code=True)  # runs its pipeline.py',
        f"pipeline({asked}num_images=4, num_inference_steps=50).images[0].show()",
        "```",
        "",
    ]


def _told(
    made_from: Sequence[tuple[str, str]],
    origins: Sequence[Origin],
    figures: Mapping[str, float],
    facts: Mapping[str, Any],
) -> list[str]:
    size, names = facts.get("image_size"), facts.get("class_names") or ()
    lines = ["## What it is", ""]
    lines += [f"- Images of {size}×{size} pixels."] if size else []
    lines += (
        [f"- {len(names)} classes: {', '.join(map(str, names[:20]))}{', …' if len(names) > 20 else ''}."]
        if names
        else []
    )
    lines += [
        "",
        "## Made from",
        "",
        "| stage | sha256 |",
        "|---|---|",
        *(f"| {s} | `{d}` |" for s, d in made_from),
        "",
    ]
    if figures:
        lines += ["## Figures", "", "| | |", "|---|---|", *(f"| {n} | {v:.4g} |" for n, v in figures.items()), ""]
    lines += ["## Licence of the data", ""]
    for origin in origins:
        said = [origin.origin, origin.licence, origin.attribution, origin.composed]
        lines += ["- " + "; ".join(part for part in said if part)]
    return lines if origins else [*lines, "Its manifests say nothing of it: ask whoever has the images."]
