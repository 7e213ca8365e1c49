"""An independent judge: does a sample show the class it was asked to show?

A support vector machine that has seen real training images only, and knows nothing of the networks it judges. Its own
accuracy on held-out real images says how far its word is to be trusted.

Shapes: n images, h w pixels; labels are class numbers, one an image.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int, UInt8
from sklearn.svm import SVC

from rayograph.errors import DataError
from rayograph.evaluation.extractors.pooled_pixels import pooled_pixels

# Where this kernel is known to read digits well: 8×8 grey values of 0 … 16, as scikit-learn's own set comes.
SIZE = 8
BRIGHTEST = 16.0
GAMMA = 0.001

Thumbnails = Float64[np.ndarray, "_ 64"]
"""Grey images at that size, a row each."""


@dataclass(frozen=True)
class Verdict:
    """Shares in [0, 1]; by class, for the classes that occur in the set that was judged."""

    accuracy_real: float
    accuracy_real_by_class: dict[int, float]
    agreement: float
    agreement_by_class: dict[int, float]


@dataclass(frozen=True)
class Judge:
    """A trained classifier."""

    machine: SVC

    def right(self, images: Thumbnails, labels: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Whether each image is read as its label."""
        return self.machine.predict(images) == labels


def thumbnails(pixels: UInt8[np.ndarray, "n h w 3"]) -> Thumbnails:
    """Images as the judge looks at them. Raises DataError for a side that is no multiple of `SIZE`."""
    return pooled_pixels(pixels, SIZE, grey=True) * BRIGHTEST


def train_judge(images: Thumbnails, labels: Int[np.ndarray, " n"]) -> Judge:
    """Fit on real training images; the fit is convex, so no seed is needed."""
    if len(np.unique(labels)) < 2:
        raise DataError(f"classifier: expected at least 2 classes among {len(labels)} training images")
    return Judge(SVC(gamma=GAMMA).fit(images, labels))


def judge(
    classifier: Judge,
    held_out: Thumbnails,
    held_out_labels: Int[np.ndarray, " n"],
    samples: Thumbnails,
    sample_labels: Int[np.ndarray, " m"],
) -> Verdict:
    """How often the classifier reads held-out real images rightly, and samples as the class asked for."""
    if not len(held_out) or not len(samples):
        raise DataError(f"classifier: expected images to judge, got {len(held_out)} held out, {len(samples)} samples")
    real = classifier.right(held_out, held_out_labels)
    generated = classifier.right(samples, sample_labels)
    return Verdict(
        accuracy_real=float(real.mean()),
        accuracy_real_by_class=_by_class(real, held_out_labels),
        agreement=float(generated.mean()),
        agreement_by_class=_by_class(generated, sample_labels),
    )


def _by_class(right: np.ndarray, labels: np.ndarray) -> dict[int, float]:
    return {int(label): float(right[labels == label].mean()) for label in np.unique(labels)}
