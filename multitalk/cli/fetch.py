"""``multitalk fetch``: download the published weights."""

from ..bake.commands import add_fetch as add_arguments
from ..bake.commands import fetch_command as run

__all__ = ["add_arguments", "run"]
