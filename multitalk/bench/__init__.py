"""``python -m multitalk bench``: the pipeline's speed and memory on weights that are made on the spot."""
