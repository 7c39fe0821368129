"""What a job is: fields, checks, presets, dialogue scripts, and other names of fields."""
