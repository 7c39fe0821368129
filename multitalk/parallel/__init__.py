"""Several processes, a GPU each, make one video together.

Process 0 leads: it reads the request, encodes, draws the random numbers, guides, decodes and writes the file.
The others hold the transformer alone and take part in its calls, in two ways at once: they share a video's
tokens (:mod:`multitalk.models.sequence`), and groups of them each take a guidance branch.
"""

from .launch import connected, connected_processes, launched_processes, launched_rank
from .layout import ParallelSettings, RankLayout, choose_layout

__all__ = [
    "ParallelSettings",
    "RankLayout",
    "choose_layout",
    "connected",
    "connected_processes",
    "launched_processes",
    "launched_rank",
]
