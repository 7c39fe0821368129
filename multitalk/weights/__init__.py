"""Weights: from the published files to a baked folder, and from there into the models."""
