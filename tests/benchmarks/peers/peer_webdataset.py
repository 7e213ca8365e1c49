"""WebDataset and torch's DataLoader.

stock: `.decode("pil")` and a transform, shards shuffled, a shuffle buffer of 1,000 encoded samples, batches made in the
workers, as its README has it. It keeps no position: `--resume-at` reads the epoch from its start with the same seed and
skips, before decoding (`islice` in each worker), which needs the same number of workers; with another, the remaining
samples are others.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import torch
import webdataset as wds
from common import BUFFER, WorkersUp, arguments, decoder, epochs, report, stock_pixels


def skipped(samples: Iterator[dict], batches: int, batch_size: int) -> Iterator[dict]:
    """What is left for this worker when the DataLoader has already taken `batches`, one worker after the other."""
    worker = torch.utils.data.get_worker_info()
    number, of = (worker.id, worker.num_workers) if worker else (0, 1)
    done = batches // of + (number < batches % of)
    return itertools.islice(samples, done * batch_size, None)


def main() -> None:
    """Reads and reports."""
    options = arguments(__doc__)
    shards = sorted(str(path) for path in Path(options.data, "wds").glob("*.tar"))
    up = WorkersUp(options.workers)

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        dataset = wds.WebDataset(shards, shardshuffle=len(shards), seed=options.seed, nodesplitter=wds.split_by_node)
        dataset = dataset.shuffle(BUFFER, seed=options.seed)
        if options.batches and not (options.resume_at or options.save_state):
            dataset = dataset.repeat()
        if options.resume_at:
            dataset = dataset.compose(lambda samples: skipped(samples, options.resume_at, options.batch_size))
        if options.kind == "latents":
            dataset = dataset.decode().to_tuple("npy", "__key__").map_tuple(torch.from_numpy, int)
        elif options.decoder == "stock":
            dataset = dataset.decode("pil").to_tuple("jpg", "__key__").map_tuple(stock_pixels, int)
        else:
            dataset = dataset.to_tuple("jpg", "__key__").map_tuple(decoder("fast"), int)
        dataset = dataset.batched(options.batch_size)
        loader = wds.WebLoader(dataset, batch_size=None, num_workers=options.workers, worker_init_fn=up)
        return epochs(loader, endless=False)

    report(options, ["webdataset", "simplejpeg"], batches, workers_up=up)


if __name__ == "__main__":
    main()
