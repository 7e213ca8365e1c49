"""Conditions that stand beside the latents, place by place. One file a kind."""
