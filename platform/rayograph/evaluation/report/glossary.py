"""What every figure means, in a line, and how it is written."""

import math
from collections.abc import Callable
from dataclasses import dataclass

NO_BREAK = "\N{NO-BREAK SPACE}"


def share(value: float) -> str:
    """0.994 as 99.4 %, 1 as 100 %."""
    return _finite(value) or ("100" if value == 1.0 else f"{100 * value:.1f}") + NO_BREAK + "%"


def one_in(value: float) -> str:
    """0.00025 as 1 in 4,000: a share that is small."""
    return f"1 in {round(1 / value):,}"


def decibels(value: float) -> str:
    return (_finite(value) or f"{value:.1f}") + NO_BREAK + "dB"


def number(value: float) -> str:
    """Three significant digits and no exponent."""
    if not math.isfinite(value) or value == 0:
        return _finite(value) or "0"
    decimals = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, decimals):.{max(0, decimals)}f}"


def duration(seconds: float) -> str:
    """3725 as 1 h 2 min, 75 as 1 min 15 s, 7.25 as 7.2 s."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {left} s"
    return f"{minutes // 60} h {minutes % 60} min"


@dataclass(frozen=True)
class Entry:
    """One figure: its stable name, the name of its real counterpart, and how readers meet it."""

    name: str
    label: str
    write: Callable[[float], str]
    meaning: str
    real_name: str | None = None
    beside: str = ""  # how the tile introduces the counterpart
    headline: bool = True
    chance_name: str | None = None  # what knowing nothing would reach: stands beside in the place of real images


ENTRIES = (
    Entry(
        "retrieval_at_1_held_out",
        "Right one nearest, never seen",
        share,
        "Of all real images the one that was asked for, and is held out, lies nearest to the sample.",
        beside="{} by chance",
        headline=True,
        chance_name="retrieval_at_1_chance",
    ),
    Entry(
        "retrieval_at_5_held_out",
        "Right one of the nearest five, never seen",
        share,
        "The held-out image that was asked for is among the five real images nearest to the sample.",
        beside="{} by chance",
        headline=True,
        chance_name="retrieval_at_5_chance",
    ),
    Entry(
        "retrieval_at_1_train",
        "Right one nearest, seen",
        share,
        "Of all real images the one that was asked for, and trained on, lies nearest to the sample.",
        beside="{} by chance",
        headline=False,
        chance_name="retrieval_at_1_chance",
    ),
    Entry(
        "retrieval_at_5_train",
        "Right one of the nearest five, seen",
        share,
        "The training image that was asked for is among the five real images nearest to the sample.",
        beside="{} by chance",
        headline=False,
        chance_name="retrieval_at_5_chance",
    ),
    Entry(
        "class_agreement",
        "Class agreement",
        share,
        "How often a classifier that has seen real images alone reads a sample as the class asked for.",
        "classifier_accuracy_real",
        "the classifier reads {} of held-out images rightly",
    ),
    Entry(
        "frechet_distance",
        "Fréchet distance",
        number,
        "How far samples and held-out images are apart in mean and covariance; lower is better.",
        "frechet_distance_real",
        "{} for real training images",
    ),
    Entry(
        "precision",
        "Precision",
        share,
        "Samples that lie among held-out images: how many look real.",
        "precision_real",
        "{} for real training images",
    ),
    Entry(
        "recall",
        "Recall",
        share,
        "Held-out images that lie among samples: how much of the real variety is reached.",
        "recall_real",
        "{} for real training images",
    ),
    Entry(
        "within_class_variance",
        "Variance within classes",
        number,
        "How much images of one class differ from each other: far below the real one, they are all alike.",
        "within_class_variance_real",
        "{} for real training images",
    ),
    Entry(
        "reconstruction_psnr",
        "Reconstruction PSNR",
        decibels,
        "Peak signal-to-noise ratio of held-out images through the autoencoder; higher is better.",
        beside="held-out images",
    ),
    Entry(
        "reconstruction_ssim",
        "Reconstruction SSIM",
        number,
        "Structural similarity (SSIM) of held-out images and their reconstructions; 1 is the same image.",
        beside="held-out images",
    ),
    Entry(
        "nearest_train_distance",
        "Nearest in training",
        number,
        "Median distance of a sample to the training image nearest to it; 0 would be a copy.",
        "nearest_train_distance_real",
        "{} for held-out images",
    ),
    Entry(
        "nearest_train_distance_first_percentile",
        "Nearest in training, 1st percentile",
        number,
        "The same for the closest hundredth of the samples: copies would show here first.",
        "nearest_train_distance_first_percentile_real",
        headline=False,
    ),
)


def _finite(value: float) -> str:
    """What to write for a value that is no number; nothing for one that is."""
    if math.isnan(value):
        return "undefined"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return ""
