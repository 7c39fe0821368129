"""``multitalk fetch``: download the published weights."""

from ..bake.fetch import add_arguments, run

__all__ = ["add_arguments", "run"]
