"""Work beside the passes: the most urgent first, and never an interactive job behind a batch one."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait

import pytest

from processor.engines.aside import Aside

LIMIT = 30
BATCH, INTERACTIVE = True, False


@pytest.fixture
def changed():
    return threading.Event()


@pytest.fixture
def aside(changed: threading.Event) -> Iterator[Aside[str]]:
    aside: Aside[str] = Aside("aside", changed)
    yield aside
    aside.close()


class Held:
    """Work that lasts until it is let go."""

    def __init__(self) -> None:
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.began.set()
        assert self.go.wait(LIMIT)
        return "held"


def test_what_is_done_is_told(aside: Aside[str], changed: threading.Event):
    done = aside.submit((INTERACTIVE, 1.0), lambda: "done")
    assert changed.wait(LIMIT)
    assert done.result(LIMIT) == "done"


def test_an_error_is_the_futures(aside: Aside[str]):
    def fail() -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        aside.submit((INTERACTIVE, 1.0), fail).result(LIMIT)
    assert aside.submit((BATCH, 1.0), lambda: "on").result(LIMIT) == "on"


def test_interactive_work_passes_by_batch_work(aside: Aside[str]):
    hours, more = Held(), Held()
    first = aside.submit((BATCH, 1.0), hours)
    second = aside.submit((BATCH, 2.0), more)
    assert hours.began.wait(LIMIT)
    assert aside.submit((INTERACTIVE, 3.0), lambda: "quick").result(LIMIT) == "quick"
    assert not first.done()
    assert not more.began.is_set()  # one thread is not for batch work
    hours.go.set()
    more.go.set()
    assert wait([first, second], LIMIT).not_done == set()


def test_the_most_urgent_work_comes_first(aside: Aside[str]):
    held, also_held = Held(), Held()
    aside.submit((INTERACTIVE, 0.0), held)
    aside.submit((INTERACTIVE, 0.0), also_held)
    assert held.began.wait(LIMIT) and also_held.began.wait(LIMIT)
    order: list[str] = []
    later: list[Future[str]] = [
        aside.submit(urgency, lambda name=name: order.append(name) or name)
        for name, urgency in (
            ("d", (BATCH, 2.0)),
            ("b", (INTERACTIVE, 9.0)),
            ("c", (BATCH, 1.0)),
            ("a", (INTERACTIVE, 8.0)),
        )
    ]
    also_held.go.set()  # whichever of the two threads this is, the other stays held
    wait([future for future, name in zip(later, "dbca", strict=True) if name in "ab"], LIMIT)
    held.go.set()
    assert wait(later, LIMIT).not_done == set()
    assert order == ["a", "b", "c", "d"]


def test_work_cancelled_before_it_begins_is_never_done(aside: Aside[str]):
    held = Held()
    aside.submit((BATCH, 1.0), held)
    assert held.began.wait(LIMIT)
    gone = Held()
    cancelled = aside.submit((BATCH, 2.0), gone)
    assert cancelled.cancel()
    held.go.set()
    assert aside.submit((BATCH, 3.0), lambda: "next").result(LIMIT) == "next"
    assert not gone.began.is_set()
