"""For scripts that tests run in a process of their own: nobody reaches a network, and whoever tries is written down."""

import os
import socket
from collections.abc import Callable
from typing import NoReturn


def refuse_network() -> None:
    """Each try fails and adds a line to the file that TRIED names."""
    socket.socket.connect = _refuse("connect")
    socket.socket.connect_ex = _refuse("connect_ex")
    socket.getaddrinfo = _refuse("getaddrinfo")


def _refuse(what: str) -> Callable[..., NoReturn]:
    def call(*args: object, **kwargs: object) -> NoReturn:
        with open(os.environ["TRIED"], "a") as tried:  # noqa: PTH123 - as little as can be is imported before the guard
            print(what, args, file=tried)
        raise OSError("no network here")

    return call
