"""What a job is: its fields and checks, presets, dialogue scripts, and the names that clients use."""
