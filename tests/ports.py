"""Ports for servers that are told theirs before they start."""

from __future__ import annotations

import socket


class HeldPort:
    """A free port that is given to nobody else until it is let go.

    It is bound but not listened on: connections are refused, and a server that sets SO_REUSEADDR, as all of
    these tests do, starts beside it.

    Attributes:
        number: The port.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("", 0))  # on every address of this computer
        self.number: int = self._socket.getsockname()[1]

    def let_go(self) -> None:
        """What listens there by now keeps it."""
        self._socket.close()

    def __enter__(self) -> HeldPort:
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()
