"""Sampling of latents: timesteps, guidance, caches, motion latents and color correction."""
