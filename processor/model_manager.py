"""Which models are in memory: as many as fit, loaded when they are first asked for, the least recently used one dropped first."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from processor.engines import page_cache
from processor.engines.memory import Memory
from schemas.errors import ModelLoadFailed, TurnstreamError

log = logging.getLogger(__name__)

MiB = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from. Both functions may be called in a thread of their own."""

    name: str
    load: Callable[[], Any]
    """Takes seconds, and longer where there are weights to fetch. Raises a ModelError, or what the library raises."""
    files: Callable[[], Sequence[Path]] = tuple
    """What lies on disk of it, to guess its size by and to be read ahead; empty where that is not known. Quick."""
    size: int | None = None
    """Bytes, where they are known without files."""


class Reason(StrEnum):
    """Why a model is not in memory any more."""

    SWAP = "swap"  # another one needed the room
    IDLE = "idle"  # nobody wanted it for long
    FAILED = "failed"  # it could not be loaded
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Loaded:
    model: str
    seconds: float
    bytes: int
    """What it takes in memory, as measured."""


@dataclass(frozen=True, slots=True)
class Unloaded:
    model: str
    seconds: float
    bytes: int
    reason: Reason


class ModelManager:
    """Loads in a thread aside, one model at a time, so that whoever asks is never held up. Used from one thread.

    What is in memory never is more than the budget, except for a model that is larger all by itself.
    """

    def __init__(
        self,
        memory: Memory,
        *,
        idle_seconds: float = 0,
        on_change: Callable[[], None] = lambda: None,
        on_evict: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`on_change` is called from another thread when a load has ended, well or not; `on_evict`, by whoever calls
        here, before a model is unloaded: who holds a part of it must let go. `idle_seconds` of 0: never unload for that.
        """
        self._memory = memory
        self._idle_seconds = idle_seconds
        self._on_change, self._on_evict = on_change, on_evict
        self._sources: dict[str, ModelSource] = {}
        self._sizes: dict[str, int] = {}  # guessed at first, then as measured by the last load
        self._resident: dict[str, _Resident] = {}  # least recently used first
        self._load: _Load | None = None
        self._failed: dict[str, TurnstreamError] = {}
        self._prefetched: set[str] = set()
        self._too_large: set[str] = set()  # and it was said
        self._events: list[Loaded | Unloaded] = []

    def register(self, source: ModelSource) -> None:
        """To be called once for each model, before it is asked for."""
        self._sources[source.name] = source
        guess = source.size if source.size is not None else page_cache.size(source.files())
        if guess or source.size == 0:
            self._sizes[source.name] = guess

    def registered(self, name: str) -> bool:
        return name in self._sources

    def get(self, name: str) -> Any | None:
        """The model, or None while it is being loaded; others may be unloaded to make room for it.

        A load that failed raises its error once, out of the tree; the next call tries again.
        """
        self._settle()
        if (error := self._failed.pop(name, None)) is not None:
            raise error
        if (there := self._resident.pop(name, None)) is not None:
            self._resident[name] = there  # the most recently used one
            there.used = time.monotonic()
            return there.model
        if self._load is None:
            self._begin(name)
        return None

    def forgive(self, name: str) -> None:
        """Forget a failed load that nobody was told of: whoever wanted the model is gone."""
        self._settle()
        self._failed.pop(name, None)

    def prefetch(self, name: str) -> None:
        """Have the model's files read ahead, in a thread, so that a later load finds them in the page cache."""
        if name in self._resident or name in self._prefetched or (self._load is not None and self._load.name == name):
            return
        self._prefetched.add(name)
        page_cache.read_ahead(self._sources[name].files)

    def unload_idle(self, wanted: Collection[str] = ()) -> None:
        """Unload what has not been used for the idle time; what is `wanted` counts as used."""
        self._settle()
        now = time.monotonic()
        for name, there in list(self._resident.items()):
            if name in wanted:
                there.used = now
            elif self._idle_seconds and now - there.used >= self._idle_seconds and not self.loading:
                self._unload(name, Reason.IDLE)

    def close(self) -> None:
        for name in list(self._resident):
            self._unload(name, Reason.CLOSE)

    # What is told of it

    @property
    def loading(self) -> bool:
        return self._load is not None and not self._load.done.is_set()

    @property
    def resident(self) -> tuple[str, ...]:
        """The least recently used one first."""
        return tuple(self._resident)

    @property
    def fitting(self) -> tuple[str, ...]:
        """Models that could be loaded now with no other one unloaded, as far as their size is known."""
        return tuple(name for name in self._sources if name not in self._resident and self.fits(name))

    def fits(self, name: str) -> bool:
        """Whether the model is resident or about to be, or fits beside those that are."""
        load, coming = self._load, 0
        if name in self._resident or (load is not None and load.name == name):
            return True
        if load is not None:
            coming = self._sizes.get(load.name, self._memory.budget)
        size = self._sizes.get(name)
        return size is not None and self._taken + coming + size <= self._memory.budget

    def events(self) -> tuple[list[Loaded], list[Unloaded]]:
        """What was loaded and unloaded since this was last asked."""
        events, self._events = self._events, []
        return (
            [event for event in events if isinstance(event, Loaded)],
            [event for event in events if isinstance(event, Unloaded)],
        )

    # Loading and unloading

    @property
    def _taken(self) -> int:
        return sum(there.bytes for there in self._resident.values())

    def _begin(self, name: str) -> None:
        size = self._sizes.get(name)
        if size is None:  # who knows: it gets all there is
            self._make_room(self._memory.budget)
        else:
            self._make_room(size)
            if size > self._memory.budget and name not in self._too_large:
                self._too_large.add(name)
                log.warning(
                    "model %s takes %d MiB, more than the budget of %d: it is loaded alone",
                    name,
                    size // MiB,
                    self._memory.budget // MiB,
                )
        self._prefetched.discard(name)
        self._load = _Load(self._sources[name], self._memory, self._on_change)

    def _make_room(self, size: int, keep: str = "") -> None:
        for name in [name for name in self._resident if name != keep]:
            if self._taken + size <= self._memory.budget:
                return
            self._unload(name, Reason.SWAP)

    def _settle(self) -> None:
        load = self._load
        if load is None or not load.done.is_set():
            return
        self._load = None
        if load.error is None:
            self._loaded(load)
        elif load.out_of_memory and self._resident:
            log.warning("model %s: %s; the others are unloaded and it is tried again", load.name, load.error)
            for name in list(self._resident):
                self._unload(name, Reason.SWAP)
            self._begin(load.name)
        else:
            self._memory.give_back()  # what was half loaded
            if not load.out_of_memory:  # the next try evicts nobody, until it is known that there is something to load
                self._sizes.setdefault(load.name, 0)
            self._failed[load.name] = load.error
            self._events.append(Unloaded(load.name, load.seconds, 0, Reason.FAILED))

    def _loaded(self, load: "_Load") -> None:
        size = load.growth if load.growth > 0 else self._sizes.get(load.name, 0)  # others may have freed more meanwhile
        self._sizes[load.name] = size
        self._resident[load.name] = _Resident(load.take(), size, time.monotonic())
        self._events.append(Loaded(load.name, load.seconds, size))
        log.info("model %s loaded in %.1f s, %d MiB", load.name, load.seconds, size // MiB)
        self._make_room(0, keep=load.name)  # it may have grown larger than was thought

    def _unload(self, name: str, reason: Reason) -> None:
        started = time.monotonic()
        self._on_evict(name)
        size = self._resident.pop(name).bytes
        self._memory.give_back()
        seconds = time.monotonic() - started
        self._events.append(Unloaded(name, seconds, size, reason))
        log.info("model %s unloaded in %.1f s (%s), %d MiB", name, seconds, reason, size // MiB)


@dataclass(slots=True)
class _Resident:
    model: Any
    bytes: int
    used: float
    """When it was last, on the monotonic clock."""


class _Load:
    """One attempt to load a model, in a thread."""

    def __init__(self, source: ModelSource, memory: Memory, on_done: Callable[[], None]) -> None:
        self.name = source.name
        self.model: Any = None
        self.seconds = 0.0
        self.growth = 0
        """Bytes that the process took meanwhile, and did not give back."""
        self.error: TurnstreamError | None = None
        self.out_of_memory = False
        self.done = threading.Event()
        self._source, self._memory, self._on_done = source, memory, on_done
        threading.Thread(target=self._run, name=f"load-{self.name}", daemon=True).start()

    def take(self) -> Any:
        """The model, which is not held here any more: the thread that loaded it may take a moment to end."""
        model, self.model = self.model, None
        return model

    def _run(self) -> None:
        started = time.monotonic()
        try:
            self._memory.give_back()
            before = self._memory.used()
            self.model = self._source.load()
            self._memory.give_back()
            self.growth = self._memory.used() - before
        except Exception as error:
            self.out_of_memory = out_of_memory(error)
            self.error = self._told(error)
        finally:
            self.seconds = time.monotonic() - started
            self.done.set()
            self._on_done()

    def _told(self, error: Exception) -> TurnstreamError:
        """Out of the tree, and without the frames that still hold what was loaded so far."""
        if isinstance(error, TurnstreamError):
            told = error
        else:  # what a damaged file makes a library raise can be anything
            log.error("model %s could not be loaded", self.name, exc_info=error)
            reason = "the memory does not suffice" if self.out_of_memory else f"{type(error).__name__}: {error}"
            told = ModelLoadFailed(f"The model {self.name} could not be loaded: {reason}")
        told.__traceback__ = told.__context__ = told.__cause__ = None
        return told


_SHORTAGE = ("out of memory", "can't allocate memory", "ALLOC_FAILED")  # the last: cuDNN's and cuBLAS's


def out_of_memory(error: Exception) -> bool:
    """Whether the device's memory did not suffice. Libraries say so with a RuntimeError, worded by device."""
    text = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in _SHORTAGE)
    )
