"""A folder with every kind of image that people have, packed by `rayograph run`: each is what other programs show."""

import base64
import io
import subprocess
import sys

import browser
import command
import cv2
import deep_files
import needs
import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw

from rayograph.runs.artifact import Artifact
from rayograph.shards.pixels.colour import _PRIMARIES, adobe_rgb, matrix_profile
from rayograph.shards.pixels.decode import render
from rayograph.shards.store import read_index, read_samples
from rayograph.storage import open_store

SIZE = 64
SPACES = {"srgb": None, "p3": matrix_profile(_PRIMARIES[12], None), "adobe": adobe_rgb()}
FULL = {"quality": 95, "subsampling": 0}
COLOURS = np.asarray(
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (5, 5, 3), np.uint8)).resize(
        (SIZE, SIZE), Image.Resampling.BICUBIC
    )
)
ALPHA = np.linspace(0, 255, SIZE).round().astype(np.uint8)[None].repeat(SIZE, 0)


def saved(kind, mode="RGB", **options):
    """A writer by Pillow: of colours, perhaps with alpha, perhaps in a space."""

    def write(profile, alpha):
        image = Image.fromarray(np.dstack([COLOURS, ALPHA]) if alpha else COLOURS)
        image = image if mode == "RGB" else image.convert(mode)
        buffer = io.BytesIO()
        image.save(buffer, kind, **options, **({"icc_profile": profile} if profile else {}))
        return buffer.getvalue()

    return write


def palette(kind):
    def write(profile, alpha):
        image = Image.fromarray(COLOURS).quantize(64, dither=Image.Dither.NONE)
        options = {"icc_profile": profile} if profile else {}
        if alpha:  # a GIF's colours are there or not
            options["transparency"] = 5 if kind == "GIF" else bytes(range(0, 256, 4))
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return write


def animated(profile, alpha):
    frames = [Image.fromarray(np.dstack([c, ALPHA]) if alpha else c) for c in (COLOURS, 255 - COLOURS)]
    buffer = io.BytesIO()
    options = {"icc_profile": profile} if profile else {}
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:], duration=100, **options)
    return buffer.getvalue()


def deep(write):
    def written(profile, alpha):
        values = np.dstack([COLOURS, ALPHA]) if alpha else COLOURS
        return write(values.astype(np.uint16) * 257, alpha, profile)

    return written


def deep_tiff(values, alpha, profile):
    return deep_files.tiff(values, 2, 2 if alpha else None, profile=profile)


PLAIN, SPACED, WHOLE = (False, False), (True, False), (True, True)
KINDS = {
    "baseline.jpg": (saved("JPEG", **FULL), SPACED),
    "progressive.jpeg": (saved("JPEG", progressive=True, **FULL), SPACED),
    "ink.jpe": (saved("JPEG", "CMYK", **FULL), PLAIN),
    "grey.jfif": (saved("JPEG", "L", **FULL), PLAIN),
    "eight.png": (saved("PNG"), WHOLE),
    "sixteen.png": (deep(lambda values, alpha, profile: deep_files.png(values, profile)), WHOLE),
    "palette.png": (palette("PNG"), WHOLE),
    "animated.apng": (animated, WHOLE),
    "lossless.webp": (saved("WEBP", lossless=True, exact=True), WHOLE),
    "lossy.webp": (saved("WEBP", quality=95), WHOLE),
    "plain.avif": (saved("AVIF", quality=95, subsampling="4:4:4"), WHOLE),
    "few.gif": (palette("GIF"), (False, True)),
    "bitmap.bmp": (saved("BMP"), PLAIN),
    "packed.tif": (saved("TIFF", compression="tiff_lzw"), WHOLE),
    "deep.tiff": (deep(deep_tiff), WHOLE),
}
"""By name: who writes it, whether it holds a profile, whether it holds alpha."""

JOB = """
from rayograph.config import ImageFolder, Job, Pack

pack = Pack(source=ImageFolder(uri={uri!r}), image_size={size}, held_out_fraction=0, resize="square")
job = Job(name="formats", stages={{"pack": pack}})
"""


@pytest.fixture(scope="module")
def files():
    found = {}
    for name, (write, (has_profile, has_alpha)) in KINDS.items():
        for space, profile in SPACES.items():
            for alpha in (False, True):
                if (profile is None or has_profile) and (not alpha or has_alpha):
                    stem, dot, ending = name.partition(".")
                    found[f"{stem}-{space}-{'alpha' if alpha else 'solid'}{dot}{ending}"] = write(profile, alpha)
    return found


@pytest.fixture(scope="module")
def packed(files, tmp_path_factory):
    """The pixels of each file in the shards of the one artifact, and its manifest."""
    place = tmp_path_factory.mktemp("formats")
    (place / "in").mkdir()
    for name, data in files.items():
        (place / "in" / name).write_bytes(data)
    (place / "job.py").write_text(JOB.format(uri=str(place / "in"), size=SIZE))
    words = [sys.executable, "-m", "rayograph", "run", str(place / "job.py"), "--on", "cluster/laptop/scale.yaml"]
    done = subprocess.run(
        [*words, "--store", str(place / "store")],
        cwd=command.ROOT, env=command.environment(), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    store = open_store(str(place / "store"))
    artifact = next(
        Artifact(store, info.key.rpartition("/")[0]) for info in store.list("") if info.key.endswith("/manifest.json")
    )
    manifest = artifact.manifest()
    pixels = {}
    for shard in manifest.shards:
        index = read_index(artifact, shard.path)
        for sample in read_samples(artifact, shard.path, index, range(len(index))):
            pixels[sample.key] = render(sample.members["png"], sample.key)
    keys = {name: f"{name.partition('.')[0]}" for name in files}
    sheet = contact_sheet({name: pixels[key] for name, key in keys.items()})
    sheet.save(place / "contact-sheet.png")
    print(f"contact sheet: {place / 'contact-sheet.png'}")
    return {name: pixels[key] for name, key in keys.items()}, manifest


def contact_sheet(pictures):
    """A row a kind: each space, solid and with alpha."""
    rows = {}
    for name, pixels in pictures.items():
        kind, space, alpha = name.partition(".")[0].split("-")
        rows.setdefault(kind + name[name.index(".") :], {})[space, alpha] = pixels
    columns = [(space, alpha) for alpha in ("solid", "alpha") for space in SPACES]
    sheet = Image.new("RGB", (110 + 70 * len(columns), 16 + 70 * len(rows)), "grey")
    draw = ImageDraw.Draw(sheet)
    for x, column in enumerate(columns):
        draw.text((112 + 70 * x, 2), " ".join(column), "white")
    for y, (kind, found) in enumerate(rows.items()):
        draw.text((2, 40 + 70 * y), kind, "white")
        for x, column in enumerate(columns):
            if column in found:
                sheet.paste(Image.fromarray(found[column]), (113 + 70 * x, 19 + 70 * y))
    return sheet


def by_imagemagick(data, ending, has_profile, srgb):
    reader = {"jpe": "jpg", "jfif": "jpg", "jpeg": "jpg", "apng": "png", "tif": "tiff"}.get(ending, ending)
    convert = ["-profile", str(srgb)] if has_profile else []
    laid = ["-background", "white", "-flatten", "-colorspace", "sRGB", "-type", "TrueColor", "-depth", "8", "rgb:-"]
    shown = subprocess.run(
        ["convert", f"{reader}:-[0]", *convert, *laid], input=data, capture_output=True, check=True
    ).stdout
    return np.frombuffer(shown, np.uint8).reshape(SIZE, SIZE, 3)


BY_CHROMIUM = """
const [uri, done] = arguments, image = new Image();
image.onload = () => {
  const canvas = document.createElement("canvas");
  canvas.width = image.width; canvas.height = image.height;
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; context.fillRect(0, 0, image.width, image.height); context.drawImage(image, 0, 0);
  done(Array.from(context.getImageData(0, 0, image.width, image.height).data));
};
image.onerror = () => done(null);
image.src = uri;
"""


def far(found, expected):
    return int(np.abs(found.astype(int) - expected).max())


def test_fifteen_formats_in_three_spaces_with_and_without_alpha_are_all_packed(files, packed):
    pictures, manifest = packed
    assert len({name.partition("-")[0] + name[name.index(".") :] for name in pictures}) == 15
    assert manifest.facts["rejected"] == []
    images = manifest.facts["images"]
    assert images["converted"] == sum("-srgb-" not in name for name in files)
    assert images["composited"] == sum("-alpha" in name for name in files)
    assert images["animated"] == sum(name.startswith("animated") for name in files)


@pytest.fixture(scope="module")
def srgb(tmp_path_factory):
    path = tmp_path_factory.mktemp("profile") / "srgb.icc"
    path.write_bytes(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    return path


def test_every_pixel_is_within_two_of_imagemagicks(files, packed, srgb):
    """AVIFs are decoded by OpenCV before: Debian's ImageMagick reads their colours at half the resolution, 35 off."""
    needs.need("convert")
    distances = {}
    for name, pixels in packed[0].items():
        data, ending, space = files[name], name.rpartition(".")[2], name.split("-")[1]
        if ending == "avif":
            decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            buffer = io.BytesIO()
            order = [2, 1, 0, 3][: decoded.shape[2]]
            Image.fromarray(np.ascontiguousarray(decoded[..., order])).save(buffer, "PNG", icc_profile=SPACES[space])
            data, ending = buffer.getvalue(), "png"
        distances[name] = far(pixels, by_imagemagick(data, ending, space != "srgb", srgb))
    assert {name: distance for name, distance in distances.items() if distance > 2} == {}


def test_every_pixel_of_a_solid_avif_is_within_two_of_chromiums(files, packed, tmp_path):
    """With alpha Chromium itself is 21 levels from what was coded, where this is 2 from it."""
    with browser.chromium(tmp_path) as chrome:
        chrome.get("about:blank")
        for name, data in files.items():
            if name.endswith("-solid.avif"):
                uri = "data:image/avif;base64," + base64.b64encode(data).decode()
                shown = np.array(chrome.execute_async_script(BY_CHROMIUM, uri), np.uint8).reshape(SIZE, SIZE, 4)
                assert far(packed[0][name], shown[..., :3]) <= 2, name
