"""Stock Ray Data: `ray.data.read_webdataset`, a map that makes the square, `iter_batches`.

stock: its default decoder (Pillow, to arrays), then a map with Pillow. fast: bytes, then a map with our decoder. Files
are shuffled, and batches through a local buffer of 1,000 rows, as its documentation has it. `--workers` is its CPUs. It
keeps no position inside an epoch, so there is no `--resume-at`. It decodes ahead as far as its object store has room: a
rate within one run would leave out what was done before, so `sides.Slope` times whole epochs instead. `--data` may be
`s3://bucket/prefix` with `--endpoint-url`; either way the tars are in `wds/` below.
"""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])

import ray
import torch
from common import BUFFER, arguments, fast_decode, report, stock_pixels
from PIL import Image
from pyarrow import fs


def stock(row: dict[str, Any]) -> dict[str, Any]:
    """A decoded array to pixels."""
    return {"content": stock_pixels(Image.fromarray(row["jpg"])).numpy(), "key": int(row["__key__"])}


def fast(row: dict[str, Any]) -> dict[str, Any]:
    """JPEG bytes to pixels."""
    return {"content": fast_decode(row["jpg"]).numpy(), "key": int(row["__key__"])}


def moments(row: dict[str, Any]) -> dict[str, Any]:
    """An array as it is."""
    return {"content": row["npy"], "key": int(row["__key__"])}


def shards(options: Any) -> tuple[list[str], fs.FileSystem | None]:
    """The shards' paths and, for S3, the file system."""
    if not options.data.startswith("s3://"):
        return sorted(str(path) for path in Path(options.data, "wds").glob("*.tar")), None
    filesystem = fs.S3FileSystem(endpoint_override=options.endpoint_url, allow_bucket_creation=False)
    found = filesystem.get_file_info(fs.FileSelector(options.data.removeprefix("s3://") + "/wds", recursive=True))
    return sorted(entry.path for entry in found if entry.path.endswith(".tar")), filesystem


def main() -> None:
    """Reads and reports."""
    options = arguments(__doc__)
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes here
    ray.init(address="local", num_cpus=options.workers, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    paths, filesystem = shards(options)
    paths = paths[: options.shards or None]

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        as_bytes = options.kind != "latents" and options.decoder == "fast"
        dataset = ray.data.read_webdataset(
            paths,
            filesystem=filesystem,
            decoder=None if as_bytes else True,
            shuffle=ray.data.FileShuffleConfig(seed=options.seed),
        ).map(moments if options.kind == "latents" else fast if as_bytes else stock)
        while True:
            for batch in dataset.iter_batches(
                batch_size=options.batch_size,
                local_shuffle_buffer_size=BUFFER,
                local_shuffle_seed=options.seed,
                drop_last=bool(options.batches),
            ):
                yield torch.as_tensor(batch["content"]), torch.as_tensor(batch["key"])
            if not options.batches:
                return

    report(options, ["ray", "pyarrow"], batches)
    ray.shutdown()


if __name__ == "__main__":
    main()
