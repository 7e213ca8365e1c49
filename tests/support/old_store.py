"""A small store that version da5e2f4 made, of one job with every kind of stage: parents by absolute URIs.

It lay in /tmp/store1/store, which is nowhere now. Of the second generation of its model only the shard was kept.
"""

import tarfile
from pathlib import Path

KEPT = Path(__file__).parents[1] / "fixtures" / "store-1"
JOB = str(KEPT / "job.py")

STAGES = {
    "pack": "c9ad5371b3d67cb1",
    "train_autoencoder": "f1bdd81f1d5b017a",
    "encode": "f8fdf17884b6017b",
    "train_diffusion": "9a6b07cbcbdbd022",
    "sample": "e93e8e951c457bad",
    "evaluate": "c4915852f7314446",
}
"""Each stage's key."""

DIGESTS = {"train_diffusion": "c8b696736e65", "sample": "0a8c71e85648"}
"""How those of two artifacts began."""


def unpack(folder: Path) -> Path:
    """Return the store, unpacked below the folder; beside it lies `again`, the shard of the second generation."""
    with tarfile.open(KEPT / "store.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    return folder / "store"


def place(stage: str) -> str:
    """Where a stage's artifact lies in the store."""
    return f"store-1/{stage}/{STAGES[stage]}"
