"""``multitalk bench``: measure speed and memory."""

from ..bench.command import add_arguments, run

__all__ = ["add_arguments", "run"]
