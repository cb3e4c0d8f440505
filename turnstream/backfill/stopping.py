"""How threads end that nobody can end from outside."""

import threading


class Stopped(Exception):
    """Somebody asked for the end."""


class Stop:
    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        self._asked.set()

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    def check(self) -> None:
        """Raises Stopped."""
        if self.asked:
            raise Stopped

    def sleep(self, seconds: float) -> None:
        """Raises Stopped."""
        if self._asked.wait(seconds):
            raise Stopped
