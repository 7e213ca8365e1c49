"""A set of images in few numbers: what actors make of a batch, and what is left of a million of them on the driver.

A batch's summary and a whole set's are of one kind, joined in the set's order: who made the parts, and how many there
are, changes no bit. Beside moments, a summary holds what was selected alone, so its size does not grow with the set.

Shapes: n images, m of them compared, s shown, h w pixels, d features.
"""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt8

from rayograph.errors import DataError
from rayograph.evaluation.classifier import thumbnails
from rayograph.evaluation.extractors import FeatureExtractor
from rayograph.evaluation.reconstruction import FidelitySums
from rayograph.evaluation.selection import Selection
from rayograph.evaluation.statistics import Moments

Pixels = UInt8[np.ndarray, "n h w 3"]
Reconstruct = Callable[[Pixels, Sequence[str]], Pixels]
"""Pixels, and their names for errors, through an autoencoder and back."""


class Compared(NamedTuple):
    """The images that are compared one by one. `thumbnails` are the classifier's, of no width where it has no say."""

    features: Float[np.ndarray, "m d"]
    labels: Int64[np.ndarray, " m"]
    thumbnails: Float64[np.ndarray, "m t"]
    keys: np.ndarray = np.empty(0, np.str_)
    """Of real images their own, of samples the key of the image asked for; none where nobody asks for them."""


class Shown(NamedTuple):
    """The images that may come onto a sheet; `reconstructions` of as many of them, or of none."""

    pixels: Pixels
    labels: Int64[np.ndarray, " s"]
    reconstructions: Pixels


@dataclass(frozen=True)
class Summary:
    """What is kept of some images. Labels mean something only where `labelled` says that every image has one."""

    space: str
    """The name of the space that features are in."""
    labelled: bool
    moments: Moments
    compared: Compared
    stand_in_moments: Moments
    stand_ins: Float[np.ndarray, "t d"]
    fidelity: FidelitySums
    shown: Shown
    rejected: tuple[str, ...] = ()
    """What was left out, and why."""

    @staticmethod
    def of_nothing(space: str, rejected: Sequence[str]) -> "Summary":
        """Where no image could be read."""
        vectors, none = np.empty((0, 0)), np.empty(0, np.int64)
        pixels = np.empty((0, 0, 0, 3), np.uint8)
        moments = Moments.none()
        return Summary(
            space=space,
            labelled=True,
            moments=moments,
            compared=Compared(vectors, none, vectors),
            stand_in_moments=moments,
            stand_ins=vectors,
            fidelity=FidelitySums(),
            shown=Shown(pixels, none, pixels),
            rejected=tuple(rejected),
        )

    @property
    def labels(self) -> Int64[np.ndarray, " m"] | None:
        """Of the compared images, if all have one."""
        return self.compared.labels if self.labelled else None

    @property
    def vectors(self) -> Float64[np.ndarray, "m d"]:
        """The compared images' features."""
        return self.compared.features.astype(np.float64, copy=False)

    def to_bytes(self) -> bytes:
        """Arrays alone, by name."""
        buffer = io.BytesIO()
        arrays = {
            "space": np.array(self.space),
            "labelled": np.array(self.labelled),
            "stand_ins": self.stand_ins,
            "fidelity": np.array(self.fidelity, np.float64),
            "rejected": np.array(self.rejected, np.str_),
            **_named("moments", vars(self.moments)),
            **_named("stand_in_moments", vars(self.stand_in_moments)),
            **_named("compared", self.compared._asdict()),
            **_named("shown", self.shown._asdict()),
        }
        np.savez(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> "Summary":
        """Return what `to_bytes` wrote."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return Summary(
                space=str(arrays["space"]),
                labelled=bool(arrays["labelled"]),
                moments=_moments(_unnamed("moments", arrays)),
                compared=Compared(**_unnamed("compared", arrays)),
                stand_in_moments=_moments(_unnamed("stand_in_moments", arrays)),
                stand_ins=arrays["stand_ins"],
                fidelity=FidelitySums.from_array(arrays["fidelity"]),
                shown=Shown(**_unnamed("shown", arrays)),
                rejected=tuple(arrays["rejected"].tolist()),
            )


@dataclass(frozen=True)
class Summariser:
    """What an actor needs to sum batches up. Thumbnails are the classifier's; `reconstruct` None leaves that out."""

    extractor: FeatureExtractor
    with_thumbnails: bool
    reconstruct: Reconstruct | None = None

    def __call__(
        self,
        selection: Selection,
        rows: Int64[np.ndarray, " n"],
        pixels: Pixels,
        labels: Int64[np.ndarray, " n"] | None,
        names: Sequence[str],
        rejected: Sequence[str],
        keys: Sequence[str] = (),
    ) -> Summary:
        """Sum up the images at `rows` of the shard that the selection is of; `names` are theirs, for errors.

        `keys`, one an image or none at all, are kept of those that are compared.
        """
        if not len(rows):
            return Summary.of_nothing(self.extractor.name, rejected)
        features = self.extractor(torch.from_numpy(pixels)).cpu().numpy()
        classes = np.zeros(len(rows), np.int64) if labels is None else labels
        small = thumbnails(pixels) if self.with_thumbnails else np.empty((len(rows), 0))
        compared, shown = np.isin(rows, selection.compared), rows < selection.shown
        remade, fidelity = pixels[:0], FidelitySums()
        if self.reconstruct is not None:
            remade = self.reconstruct(pixels, names)
            fidelity = FidelitySums.of(pixels, remade)
            remade = remade[shown]
        return Summary(
            space=self.extractor.name,
            labelled=labels is not None,
            moments=Moments.of(features),
            compared=Compared(
                features[compared],
                classes[compared],
                small[compared],
                np.array(keys, np.str_)[compared] if len(keys) else np.empty(0, np.str_),
            ),
            stand_in_moments=Moments.of(features[np.isin(rows, selection.stand_ins)]),
            stand_ins=features[np.isin(rows, selection.compared_stand_ins)],
            fidelity=fidelity,
            shown=Shown(pixels[shown], classes[shown], remade),
            rejected=tuple(rejected),
        )


def joined(parts: Iterable[Summary]) -> Summary:
    """Join parts in their order, each let go once what was selected of it is taken. Raises DataError for no part."""
    part: Summary | None = None
    merged: list[Moments] = []
    kept: list[tuple[Compared, np.ndarray, Shown]] = []
    rejected: list[str] = []
    labelled, fidelity = True, FidelitySums()
    for part in parts:
        rejected += part.rejected
        if not part.moments.count:
            continue
        moments = [part.moments, part.stand_in_moments]
        merged = [a.merged(b) for a, b in zip(merged, moments, strict=True)] if kept else moments
        labelled, fidelity = labelled and part.labelled, fidelity.merged(part.fidelity)
        if not kept or len(part.compared.features) or len(part.stand_ins) or len(part.shown.pixels):
            kept.append((part.compared, part.stand_ins, part.shown))
    if part is None:
        raise DataError("images: expected a shard of them, got none")
    if not kept:
        return replace(part, rejected=tuple(rejected))
    compared, stand_ins, shown = zip(*kept, strict=True)
    return Summary(
        space=part.space,
        labelled=labelled,
        moments=merged[0],
        compared=Compared(*map(np.concatenate, zip(*compared, strict=True))),
        stand_in_moments=merged[1],
        stand_ins=np.concatenate(stand_ins),
        fidelity=fidelity,
        shown=Shown(*map(np.concatenate, zip(*shown, strict=True))),
        rejected=tuple(rejected),
    )


def _named(group: str, arrays: Mapping[str, object]) -> dict[str, np.ndarray]:
    return {f"{group}.{name}": np.asarray(array) for name, array in arrays.items()}


def _unnamed(group: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    start = f"{group}."
    return {name.removeprefix(start): arrays[name] for name in arrays if name.startswith(start)}


def _moments(arrays: Mapping[str, np.ndarray]) -> Moments:
    return Moments(int(arrays["count"]), arrays["mean"], arrays["scatter"])
