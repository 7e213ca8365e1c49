"""Training: the engine that knows DeepSpeed, the learners that know losses, the loop that knows when."""
