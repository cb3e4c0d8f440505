"""A way in a process of its own, which computes only when it is asked to."""

import multiprocessing
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.bench.ways import Bench, Run

LIMIT = 6 * 3600.0
"""Seconds that an answer may take."""


class Apart:
    """A process with one way in it. Raises RuntimeError with the other side's traceback where something fails there."""

    def __init__(self, name: str, device: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, name, device), daemon=True)
        self._process.start()
        there.close()
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def run(self, path: Path) -> Run:
        return self._ask("run", path)

    def ties(self, path: Path) -> list[float]:
        """Of stock alone: see ways.Stock."""
        return self._ask("ties", path)

    def close(self) -> None:
        self._here.close()
        self._process.join(30)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def __enter__(self) -> "Apart":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, what: str, path: Path) -> Any:
        self._here.send((what, path))
        return self._answer()

    def _answer(self) -> Any:
        if not self._here.poll(LIMIT):
            raise RuntimeError(f"{self.name} did not answer within {LIMIT:.0f} s")
        try:
            failed, value = self._here.recv()
        except EOFError as error:
            raise RuntimeError(f"the process of {self.name} died") from error
        if failed:
            raise RuntimeError(f"{self.name}:\n{value}")
        return value


def _serve(pipe: Connection, name: str, device: str) -> None:
    warnings.simplefilter("ignore")  # stock warns of what short windows do to its means
    try:
        bench = Bench(name, device)
        asked: dict[str, Callable[[Path], Any]] = {"run": bench.run, "ties": bench.ties}
        pipe.send((False, None))
        while True:
            what, path = pipe.recv()
            pipe.send((False, asked[what](path)))
    except EOFError:  # nobody asks any more
        return
    except Exception:
        pipe.send((True, traceback.format_exc()))
