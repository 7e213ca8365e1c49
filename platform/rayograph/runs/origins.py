"""Whose images an artifact was made from: what their manifests say, for whoever shows or hands on what was made."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Origin:
    """Where images are from and under which licence, and what is to be said of them wherever they are shown."""

    origin: str
    licence: str
    attribution: str = ""
    composed: str = ""
    """What was put together of them, where it is no image that anybody made."""


def origins_of(manifests_facts: Iterable[Mapping[str, Any]]) -> list[Origin]:
    """Return each that facts of manifests name, once, in their order; of images that say nothing there is none."""
    found: dict[Origin, None] = {}
    for facts in manifests_facts:
        if "licence" in facts:
            said = {name: str(facts.get(name, "")) for name in ("origin", "licence", "attribution", "composed")}
            found[Origin(said["origin"], said["licence"], said["attribution"], said["composed"])] = None
    return list(found)
