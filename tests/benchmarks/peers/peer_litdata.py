"""LitData: StreamingDataset and StreamingDataLoader over its own optimised chunks.

stock: images written as `litdata.Image` (JPEG bytes) come out decoded by torchvision and are resized by torchvision's
transform; moments come out of its array serialiser. fast: the same files, with its bytes serialiser in the image
serialiser's place and our decoder as transform. `--save-state` / `--state` are the loader's own state_dict.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from common import SIZE, WorkersUp, allow_torchvision, arguments, decoder, epochs, report

allow_torchvision()

import litdata  # noqa: E402
from litdata.streaming.serializers import BytesSerializer  # noqa: E402
from torchvision.transforms.v2 import functional as vision  # noqa: E402


def stock(sample: dict) -> tuple[torch.Tensor, int]:
    """A decoded (3, H, W) tensor to pixels."""
    image = sample["image"]
    if min(image.shape[1:]) != SIZE:
        image = vision.resize(image, [SIZE], interpolation=vision.InterpolationMode.BICUBIC, antialias=True)
    return vision.center_crop(image, [SIZE, SIZE]).permute(1, 2, 0).contiguous(), sample["index"]


def fast(sample: dict) -> tuple[torch.Tensor, int]:
    """JPEG bytes to pixels."""
    return decoder("fast")(sample["image"]), sample["index"]


def moments(sample: dict) -> tuple[torch.Tensor, int]:
    """An array as it is."""
    return torch.as_tensor(sample["moments"]), sample["index"]


def main() -> None:
    """Reads and reports."""
    options = arguments(__doc__)
    up = WorkersUp(options.workers)
    loaders: list[litdata.StreamingDataLoader] = []

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        as_bytes = options.kind != "latents" and options.decoder == "fast"
        dataset = litdata.StreamingDataset(
            str(Path(options.data, "litdata")),
            shuffle=True,
            drop_last=False,  # explicitly: its default depends on the number of ranks and must agree with the state
            seed=options.seed,
            transform=moments if options.kind == "latents" else fast if as_bytes else stock,
            serializers={"image": BytesSerializer()} if as_bytes else None,
        )
        loader = litdata.StreamingDataLoader(
            dataset, batch_size=options.batch_size, num_workers=options.workers, worker_init_fn=up
        )
        loaders.append(loader)
        if options.state:
            loader.load_state_dict(json.loads(options.state.read_text()))
        return epochs(loader, endless=bool(options.batches) and not options.save_state)

    report(options, ["litdata", "torchvision"], batches, workers_up=up, save=lambda: loaders[0].state_dict())


if __name__ == "__main__":
    main()
