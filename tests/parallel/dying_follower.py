"""``python -m multitalk`` in two processes; process 1 dies at the point that the first argument names."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from multitalk.cli.main import main
from multitalk.parallel.channel import Channel
from multitalk.parallel.messages import Predict
from multitalk.parallel.shared_model import LeadingVelocityModel
from multitalk.parallel.team import Team


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def when_connecting() -> None:
    """Die while process 0 waits in a call that does not notice it."""
    place = Team.place

    def place_or_die(team: Team, *args: Any) -> Any:
        if team.rank == 1:
            die()
        return place(team, *args)

    Team.place = place_or_die  # type: ignore[method-assign]


def between_steps() -> None:
    """Die while process 0 is busy, until torchrun asks process 0 to end as well."""
    receive, predict = Channel.receive, LeadingVelocityModel.predict
    last: list[Any] = [None]

    def receive_or_die(channel: Channel) -> Any:
        if isinstance(last[0], Predict):
            die()
        last[0] = receive(channel)
        return last[0]

    def predict_and_wait(model: LeadingVelocityModel, *args: Any) -> Any:
        predictions = predict(model, *args)
        cancel = signal.getsignal(signal.SIGTERM)
        assert callable(cancel)
        received: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: received.append(number) or cancel(number, frame))
        while not received:
            time.sleep(0.05)
        return predictions

    Channel.receive = receive_or_die  # type: ignore[method-assign]
    LeadingVelocityModel.predict = predict_and_wait  # type: ignore[method-assign]


if __name__ == "__main__":
    {"connecting": when_connecting, "between steps": between_steps}[sys.argv.pop(1)]()
    sys.exit(main())
