"""Boxes as people write them down."""

import json
from typing import Any

import numpy as np

from rayograph.errors import DataError
from rayograph.ingest.sources.source import Boxes

_PLACES, _LABELS = ("bbox", "bboxes", "boxes"), ("category", "categories", "label", "labels", "class")


def parse_boxes(value: object, where: str) -> Boxes | None:
    """From [[x, y, w, h], …]; {"bbox": [[…], …], "category": […]}; [{"bbox": […], "category": …}, …]; or JSON of those.

    None for None. Raises DataError naming the sample for anything else.
    """
    if value is None:
        return None
    try:
        given: Any = json.loads(value) if isinstance(value, str | bytes) else value
        labels = None
        if isinstance(given, list) and given and isinstance(given[0], dict):
            given = {name: [box.get(name) for box in given] for name in given[0]}
        if isinstance(given, dict):
            labels = next((given[name] for name in _LABELS if given.get(name) is not None), None)
            given = next((given[name] for name in _PLACES if given.get(name) is not None), [])
        places = np.array(given, np.float64).reshape(-1, 4) if len(given) else np.zeros((0, 4))
        if len(places) != len(given) or not np.isfinite(places).all() or (places[:, 2:] < 0).any():
            raise ValueError("not four finite numbers each, or a negative size")
        if labels is not None and (len(labels) != len(places) or not all(isinstance(a, str | int) for a in labels)):
            raise ValueError(f"{len(labels)} labels for {len(places)} boxes, or labels that are no names or numbers")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{where}: expected boxes [[x, y, w, h], …], perhaps with a label each: {error}") from error
    return Boxes(places, labels)
