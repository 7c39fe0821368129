"""Measurements: ratios taken in one run, never test conditions."""
