"""Ray Serve: sampler replicas, and the coordinator that keeps them busy and loses nothing."""
