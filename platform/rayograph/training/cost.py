"""What a training costs, in numbers. Quick to import: training/estimate.py does the counting."""

from dataclasses import dataclass

from rayograph.config import TrainingScale

FLOAT_BYTES = 4


@dataclass(frozen=True)
class Cost:
    """Of one training. FLOPs are 2 a multiply-add, forward and backward, of convolutions and matrix products.

    `activation_bytes` is what one image leaves behind for the backward pass, in fp32.
    """

    parameters: dict[str, int]
    """Trained, by network."""
    frozen: int
    states: int
    """Values of the optimiser's state."""
    flops: int
    activation_bytes: int
    notes: tuple[str, ...] = ()
    """What the count had to assume."""

    @property
    def checkpoint_bytes(self) -> int:
        """Weights and the optimiser's state, all fp32."""
        return FLOAT_BYTES * (sum(self.parameters.values()) + self.states)

    def memory_bytes(self, zero_stage: int, workers: int, micro_batch_size: int, scale: TrainingScale) -> int:
        """What a worker holds in the middle of a step, without what allocators and libraries add.

        ZeRO divides by the workers: from 1 on the optimiser's state and masters, from 2 gradients too, at 3 all; of
        networks that are handled as one long tensor, gradients and weights are whole besides while a step lasts.
        """
        trained = sum(self.parameters.values())
        whole = sum(count for count in self.parameters.values() if count <= scale.flat_parameters)
        share = 1 / workers
        weights = trained * share + whole if zero_stage == 3 else trained
        gradients = trained * share + whole if zero_stage >= 2 else trained
        kept = (trained * share if zero_stage else 0) + self.states * (share if zero_stage else 1)
        if scale.offload_optimizer and zero_stage:
            kept = 0
        activations = micro_batch_size * self.activation_bytes * (1 if scale.precision == "fp32" else 0.5)
        return round(FLOAT_BYTES * (weights + gradients + kept + self.frozen) + activations)
