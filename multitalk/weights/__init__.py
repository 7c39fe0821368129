"""Baked weights: their folder, and loading it into the models."""
