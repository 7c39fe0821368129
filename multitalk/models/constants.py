"""Numbers of how the networks run that a plan counts with, too; read without torch."""

from __future__ import annotations

# Frames of the video, and features of its sound, per second.
FPS = 25
# Compute capability from which a GPU multiplies 8-bit weights as they are: integer tensor cores begin with
# Turing (V100 has none), 8-bit float ones with Ada.
INT8_CAPABILITY = (7, 5)
FP8_CAPABILITY = (8, 9)
# Blocks of device memory that streamed or shared ones take turns in: one computes while the next is filled.
SLOTS = 2
# Side of the autoencoder's tiles in pixels, and the step from one to the next.
TILE = 256
TILE_STRIDE = 192
