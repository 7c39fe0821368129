"""Tests of what runs on a GPU, on a stand-in that has no GPU: see `stand_in.py`."""
