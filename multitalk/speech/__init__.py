"""Text to speech: engines, voices, and one track per speaker."""
