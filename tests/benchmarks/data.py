"""The benchmarks' data sets, made once into a cache folder, always the same.

    python tests/benchmarks/data.py photos --samples 4096 --per-shard 256 --formats wds litdata mds

prints the folder, which holds `wds/*.tar` (members key.jpg or key.npy, and key.cls), `litdata/` and `mds/`. Keys are
eight-digit numbers. The tars are made by the project's interpreter (they need scikit-learn); LitData's and MosaicML's
files are made from the tars by the peers' interpreter (`peers/install.sh`), which this program starts itself.

All images derive from scikit-learn's two sample photographs (640×427) and are stored as JPEG, quality 90, 4:2:0. A
photo that is enlarged is sharpened again and given fine grain, because plain enlargement would leave too little for a
decoder to do. Even so the 1024² ones are not a camera's: they hold more blur and more noise than real photographs.

photos    six sizes of 0.25 to 0.30 megapixels: crops of 75 to 100 % of the width, colours varied, half of them mirrored
large     1024²: crops of 60 to 100 % of the height, enlarged 2.4 to 4 times, sharpened, grain
small     256²: crops of 60 to 100 % of the height, reduced
latents   moments (8, 32, 32) of float32: smooth means, log-variances around -8; `latents16` the same as float16
"""

import argparse
import functools
import io
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("photos", "large", "small", "latents", "latents16")
FORMATS = ("wds", "litdata", "mds")
CACHE = Path(os.environ.get("RAYOGRAPH_BENCH", "~/.cache/rayograph-bench")).expanduser()
ROOT = Path(__file__).parents[2]
PEERS_PYTHON = ROOT / ".venv-peers/bin/python"
SIZES = ((600, 450), (640, 427), (576, 480), (450, 600), (427, 640), (512, 512))  # width, height
QUALITY, CLASSES, CHUNK_BYTES = 90, 1000, 64 << 20


@functools.cache
def _sources() -> list[Any]:
    from PIL import Image
    from sklearn.datasets import load_sample_images

    return [Image.fromarray(array) for array in load_sample_images().images]


def _photo(rng: np.random.Generator, width: int, height: int, least: float) -> bytes:
    """A JPEG of a random crop; `least` is the smallest part of the largest possible crop, by its side."""
    from PIL import Image, ImageEnhance, ImageFilter, ImageOps

    source = _sources()[rng.integers(2)]
    fit = min(source.width / width, source.height / height) * rng.uniform(least, 1)
    crop_width, crop_height = width * fit, height * fit
    left, top = rng.uniform(0, source.width - crop_width), rng.uniform(0, source.height - crop_height)
    box = (left, top, left + crop_width, top + crop_height)
    image = source.resize((width, height), Image.Resampling.LANCZOS, box=box)
    if rng.integers(2):
        image = ImageOps.mirror(image)
    for change, strength in ((ImageEnhance.Color, 0.4), (ImageEnhance.Brightness, 0.2), (ImageEnhance.Contrast, 0.2)):
        image = change(image).enhance(rng.uniform(1 - strength, 1 + strength))
    if fit < 0.95:
        image = image.filter(ImageFilter.UnsharpMask(radius=0.7 / fit, percent=80, threshold=0))
        grain = rng.normal(0, 2.5, (height, width, 1)).astype(np.float32)
        image = Image.fromarray((np.asarray(image) + grain + 0.5).clip(0, 255).astype(np.uint8))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return out.getvalue()


def _moments(rng: np.random.Generator, dtype: type) -> bytes:
    """An encoder's moments, more or less: 4 channels of smooth means and 4 of log-variances."""
    coarse = rng.normal(0, 4, (4, 8, 8)).repeat(4, axis=1).repeat(4, axis=2)
    moments = np.concatenate([coarse + rng.normal(0, 1, (4, 32, 32)), rng.normal(-8, 1, (4, 32, 32))])
    out = io.BytesIO()
    np.save(out, moments.astype(dtype))
    return out.getvalue()


def content(kind: str, number: int) -> tuple[bytes, str]:
    """One sample's bytes and extension."""
    rng = np.random.default_rng([KINDS.index(kind.removesuffix("16")), number])
    if kind.startswith("latents"):
        return _moments(rng, np.float16 if kind == "latents16" else np.float32), "npy"
    if kind == "large":
        return _photo(rng, 1024, 1024, 0.6), "jpg"
    if kind == "small":
        return _photo(rng, 256, 256, 0.6), "jpg"
    return _photo(rng, *SIZES[rng.integers(len(SIZES))], 0.75), "jpg"


def _write_shard(kind: str, path: Path, numbers: range) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in numbers:
            data, extension = content(kind, number)
            label = str(number % CLASSES).encode()
            for name, member in ((extension, data), ("cls", label)):
                info = tarfile.TarInfo(f"{number:08d}.{name}")
                info.size = len(member)
                tar.addfile(info, io.BytesIO(member))


def _make_wds(kind: str, folder: Path, samples: int, per_shard: int) -> None:
    folder.mkdir(parents=True)
    starts = range(0, samples, per_shard)
    with ProcessPoolExecutor() as pool:
        jobs = [
            pool.submit(_write_shard, kind, folder / f"{i:06d}.tar", range(start, min(start + per_shard, samples)))
            for i, start in enumerate(starts)
        ]
        for job in jobs:
            job.result()


def _read_wds(path: Path | str) -> Iterator[dict[str, Any]]:
    """A tar's samples: index, class, and jpg or npy."""
    with tarfile.open(path) as tar:
        sample: dict[str, Any] = {}
        for info in tar:
            key, extension = info.name.split(".")
            file = tar.extractfile(info)
            assert file is not None
            sample["index"] = int(key)
            sample[extension] = file.read()
            if extension == "cls":
                yield sample
                sample = {}


def _litdata_samples(path: str) -> Iterator[dict[str, Any]]:
    import litdata

    for sample in _read_wds(path):
        fields = {"index": sample["index"], "class": int(sample["cls"])}
        if "jpg" in sample:
            yield fields | {"image": litdata.Image(bytes=sample["jpg"])}
        else:
            yield fields | {"moments": np.load(io.BytesIO(sample["npy"]))}


def _make_litdata(source: Path, folder: Path, per_chunk: int) -> None:
    """As its README has it: `optimize`, compressed images in `litdata.Image`, arrays as they are."""
    import litdata

    size: dict[str, Any] = {"chunk_size": per_chunk} if per_chunk else {"chunk_bytes": CHUNK_BYTES}
    shards = sorted(str(path) for path in source.glob("*.tar"))
    litdata.optimize(fn=_litdata_samples, inputs=shards, output_dir=str(folder), num_workers=1, **size)


def _make_mds(source: Path, folder: Path, per_chunk: int) -> None:
    """JPEG bytes as `bytes`, moments as `ndarray` of a fixed type and shape (its most compact encoding)."""
    from streaming import MDSWriter

    shards = sorted(source.glob("*.tar"))
    first = next(_read_wds(shards[0]))
    if "jpg" in first:
        column, encoding, size = "image", "bytes", 0
    else:
        array = np.load(io.BytesIO(first["npy"]))
        column, encoding = "moments", f"ndarray:{array.dtype}:{','.join(map(str, array.shape))}"
        size = array.nbytes
    if per_chunk and not size:
        raise SystemExit("MDS shards are cut by bytes: a number of samples per shard needs samples of one size")
    # A shard holds a header of 4 bytes and an offset for each sample, beside the columns' description (under 1 KiB).
    limit = per_chunk * (size + 4 + 16) + 1024 if per_chunk else CHUNK_BYTES
    columns = {"index": "int", "class": "int", column: encoding}
    with MDSWriter(out=str(folder), columns=columns, size_limit=limit) as out:
        for path in shards:
            for sample in _read_wds(path):
                value = sample["jpg"] if column == "image" else np.load(io.BytesIO(sample["npy"]))
                out.write({"index": sample["index"], "class": int(sample["cls"]), column: value})


def make(
    kind: str,
    samples: int,
    per_shard: int,
    formats: Sequence[str] = ("wds",),
    cache: Path = CACHE,
    same_shards: bool = False,
) -> Path:
    """The data set's folder, made now as far as it is not there.

    LitData's and MosaicML's shards have their documented default of 64 MiB, or with `same_shards` as many samples as
    the tars (MDS only for latents).
    """
    folder = cache / f"{kind}-{samples}x{per_shard}{'-same' if same_shards else ''}"
    for name in ("wds", *(name for name in formats if name != "wds")):
        if (folder / name).exists():
            continue
        temporary = folder / f".{name}"
        shutil.rmtree(temporary, ignore_errors=True)
        if name == "wds":
            _make_wds(kind, temporary, samples, per_shard)
        else:
            subprocess.run(
                [PEERS_PYTHON, __file__, f"--{name}", folder / "wds", temporary, str(per_shard if same_shards else 0)],
                check=True,
                stdout=sys.stderr,
            )
        temporary.rename(folder / name)
    return folder


def main() -> None:
    """The command line; with --litdata or --mds, the part that runs under the peers' interpreter."""
    if sys.argv[1:2] in (["--litdata"], ["--mds"]):
        sys.path.append(str(Path(__file__).parent / "peers"))
        from common import allow_torchvision

        allow_torchvision()
        convert = _make_litdata if sys.argv[1] == "--litdata" else _make_mds
        convert(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--per-shard", type=int, default=256)
    parser.add_argument("--formats", nargs="+", default=["wds"], choices=FORMATS)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--same-shards", action="store_true", help="the peers' shards hold --per-shard samples too")
    options = parser.parse_args()
    folder = make(
        options.kind, options.samples, options.per_shard, tuple(options.formats), options.cache, options.same_shards
    )
    sys.stdout.write(f"{folder}\n")


if __name__ == "__main__":
    main()
