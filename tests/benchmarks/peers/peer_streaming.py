"""MosaicML Streaming: StreamingDataset over MDS shards.

stock: JPEG bytes decoded by Pillow in `__getitem__`, moments by its ndarray encoding. fast: our decoder in
`__getitem__`. `--save-state` / `--state` are StreamingDataLoader's own state_dict.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from common import WorkersUp, allow_torchvision, arguments, decoder, epochs, report

allow_torchvision()

from streaming import StreamingDataLoader, StreamingDataset  # noqa: E402
from streaming.base.util import clean_stale_shared_memory  # noqa: E402


class Samples(StreamingDataset):
    """Decodes as it is told."""

    def __init__(self, kind: str, decode: str, **options: Any) -> None:
        super().__init__(**options)
        self.kind, self.decode = kind, decoder(decode)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:  # type: ignore[override]
        sample = super().__getitem__(at)
        if self.kind == "latents":
            return torch.from_numpy(sample["moments"].copy()), sample["index"]  # the encoding's array is read-only
        return self.decode(sample["image"]), sample["index"]


def main() -> None:
    """Reads and reports."""
    options = arguments(__doc__)
    up = WorkersUp(options.workers)
    loaders: list[StreamingDataLoader] = []
    clean_stale_shared_memory()

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        dataset = Samples(
            options.kind,
            options.decoder,
            local=str(Path(options.data, "mds")),
            shuffle=True,
            shuffle_seed=options.seed,
            batch_size=options.batch_size,
        )
        loader = StreamingDataLoader(
            dataset, batch_size=options.batch_size, num_workers=options.workers, worker_init_fn=up
        )
        loaders.append(loader)
        if options.state:
            loader.load_state_dict(json.loads(options.state.read_text()))
        return epochs(loader, endless=bool(options.batches) and not options.save_state)

    report(options, ["mosaicml-streaming"], batches, workers_up=up, save=lambda: loaders[0].state_dict())


if __name__ == "__main__":
    main()
