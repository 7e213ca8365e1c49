"""What a training costs, before it starts."""

import pytest
import torch

from rayograph.cli import main
from rayograph.config import (
    Autoencoder,
    AutoencoderLoss,
    Denoiser,
    Discriminator,
    PerceptualNetwork,
    TrainAutoencoder,
    TrainDiffusion,
    TrainingScale,
)
from rayograph.models.denoiser import build_denoiser
from rayograph.models.specs import LatentShape
from rayograph.training.engine import zero
from rayograph.training.estimate import Cost, autoencoder_cost, diffusion_cost

DIFFUSION = TrainDiffusion(
    network=Denoiser(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=8),
    total_images=64,
    global_batch_size=8,
)


def test_a_lone_convolution_costs_what_the_formula_says():
    """Two FLOPs a multiply-add, the backward pass twice the forward: the counter's own ground."""
    from rayograph.training.estimate import _counted

    with torch.device("meta"):
        layer = torch.nn.Conv2d(8, 16, 3, padding=1, bias=False)
        images = torch.empty(1, 8, 32, 32, requires_grad=True)
    flops, kept = _counted(lambda: layer(images).sum(), [layer])
    assert flops == 3 * 2 * 8 * 16 * 9 * 32 * 32
    assert kept == 4 * 8 * 32 * 32  # its input


def test_the_denoiser_is_counted_whole():
    cost = diffusion_cost(DIFFUSION, LatentShape(3, 8))
    real = build_denoiser(DIFFUSION.network, 3, 8)
    assert cost.parameters == {"denoiser": sum(p.numel() for p in real.parameters())}
    assert cost.checkpoint_bytes == 16 * cost.parameters["denoiser"]
    four = diffusion_cost(DIFFUSION, LatentShape(3, 16))
    assert 3.5 < four.flops / cost.flops < 4.5  # four times the places
    assert 3.5 < four.activation_bytes / cost.activation_bytes < 4.5


def test_the_papers_first_stage_costs_what_is_known_of_it():
    """KL-f8 at 256²: encoder 273 and decoder 622 GFLOP forward, three times that with the backward pass."""
    recipe = TrainAutoencoder(
        network=Autoencoder(latent_channels=4, block_out_channels=(128, 256, 512, 512)),
        discriminator=Discriminator(base_channels=1, num_layers=1),
        perceptual=PerceptualNetwork(channels=(1,)),
        loss=AutoencoderLoss(),
        total_images=64,
        global_batch_size=8,
    )
    cost = autoencoder_cost(recipe, 256)
    assert cost.parameters["autoencoder"] == pytest.approx(83.65e6, rel=0.01)
    assert cost.flops == pytest.approx(3 * (273 + 622) * 1e9, rel=0.05)


def test_zero_divides_what_it_divides():
    apart, flat = TrainingScale(flat_parameters=0), TrainingScale()
    cost = Cost({"denoiser": 1000}, 0, 3000, 1, 0)
    assert [cost.memory_bytes(stage, 4, 1, apart) for stage in range(4)] == [20_000, 12_000, 9_000, 6_000]
    alone = [cost.memory_bytes(stage, 1, 1, apart) for stage in range(4)]
    assert alone == [20_000, 24_000, 24_000, 24_000]  # masters of their own
    # One long tensor's gradients, and under ZeRO 3 its weights, are whole while a step lasts.
    assert [cost.memory_bytes(stage, 4, 1, flat) for stage in range(4)] == [20_000, 12_000, 13_000, 14_000]
    on_the_host = TrainingScale(zero_stage=1, offload_optimizer=True)
    assert cost.memory_bytes(1, 4, 1, on_the_host) == 8_000
    assert Cost({"d": 0}, 0, 0, 1, 100).memory_bytes(0, 1, 8, TrainingScale(precision="bf16")) == 400


@pytest.mark.parametrize(
    ("gibibytes", "stage", "said"), [(32, 0, "fits"), (14, 2, "ZeRO 1 would need"), (1, 3, "does not fit")]
)
def test_auto_takes_the_lowest_stage_that_fits_and_says_why(monkeypatch, gibibytes, stage, said):
    monkeypatch.setattr(zero, "worker_memory_bytes", lambda: gibibytes << 30)
    cost = Cost({"denoiser": 1 << 30}, 0, 3 << 30, 1, 0)  # 20, 12, 9 and 6 GiB over four workers
    scale, notes = zero.settled(TrainingScale(zero_stage="auto"), DIFFUSION, 4, lambda: cost)
    assert scale.zero_stage == stage
    assert said in notes[0]
    assert zero.settled(TrainingScale(zero_stage=1), DIFFUSION, 4, lambda: cost) == (TrainingScale(zero_stage=1), [])


def test_the_command_prints_each_training(capsys):
    arguments = ["jobs/digits.py", "--on", "cluster/laptop/scale.yaml", "--tflops", "0.1", "--price", "2"]
    assert main(["doctor", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines if not line.startswith(" ")] == [
        "train_autoencoder",
        "train_diffusion",
        "tracking",
    ]
    assert any("ZeRO 2" in line and "(the profile's)" in line for line in lines)
    assert any("250 steps of 64" in line for line in lines)
    assert any(line.startswith("  2 workers at 35%: ") and "at 2 a worker's hour" in line for line in lines)


def test_what_only_the_data_can_tell_is_said(capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "onlien")
    assert main(["doctor", "jobs/digits.py", "--set", "train_diffusion.network.num_classes=auto"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  num_classes auto: counted with one class; the data tells how many, once it is packed" in lines
    assert lines[-1] == "  WANDB_MODE: expected online, offline or disabled, got 'onlien': offline"


def test_a_missing_gpu_is_said_after_what_it_is_wanted_for(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert main(["doctor", "jobs/digits.py", "--set", "scale.device=cuda"]) == 2
    out, err = capsys.readouterr()
    assert out.startswith("train_autoencoder: ")
    assert err.startswith("rayograph: device: expected a GPU on this machine")
