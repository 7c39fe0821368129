"""``multitalk verify``: check the files of a baked weights folder."""

from ..bake.commands import add_verify as add_arguments
from ..bake.commands import verify_command as run

__all__ = ["add_arguments", "run"]
