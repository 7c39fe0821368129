"""From noise to latents: timesteps, guidance, skipped steps, motion frames."""
