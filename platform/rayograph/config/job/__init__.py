"""What a job file may say: the stages, and all that they declare."""
