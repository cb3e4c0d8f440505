"""Which model is in memory. One at a time: loaded when it is first asked for, dropped when another one is."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from processor.engines import allocator
from schemas.errors import ModelLoadFailed, TurnstreamError

log = logging.getLogger(__name__)

Model = TypeVar("Model")


class ModelManager(Generic[Model]):
    """Loads in a thread aside, so that whoever asks is never held up. Used from one thread."""

    def __init__(
        self, loaders: Mapping[str, Callable[[], Model]], on_loaded: Callable[[], None] = lambda: None
    ) -> None:
        """`loaders` are named by model; `on_loaded` is called from another thread when one has ended, well or not."""
        self._loaders = loaders
        self._on_loaded = on_loaded
        self._resident: tuple[str, Model] | None = None
        self._load: _Load[Model] | None = None

    @property
    def loading(self) -> bool:
        return self._load is not None and not self._load.done.is_set()

    def get(self, name: str) -> Model | None:
        """The model, or None while it is being loaded.

        A load that failed raises its error once, out of the tree; the next call tries again.
        """
        self._settle()
        if self._resident is not None and self._resident[0] == name:
            return self._resident[1]
        if self._load is None:
            self.unload()
            self._load = _Load(name, self._loaders[name], self._on_loaded)
        return None

    def unload(self) -> None:
        """Drop the model and give its memory back."""
        if self._resident is not None:
            log.info("model %s unloaded", self._resident[0])
            self._resident = None
            allocator.give_back()

    def _settle(self) -> None:
        load = self._load
        if load is None or not load.done.is_set():
            return
        self._load = None
        if load.error is not None:
            raise load.error
        if load.model is not None:
            self._resident = (load.name, load.model)


class _Load(Generic[Model]):
    """One attempt to load a model, in a thread."""

    def __init__(self, name: str, loader: Callable[[], Model], on_loaded: Callable[[], None]) -> None:
        self.name = name
        self.model: Model | None = None
        self.error: TurnstreamError | None = None
        self.done = threading.Event()
        self._loader, self._on_loaded = loader, on_loaded
        threading.Thread(target=self._run, name=f"load-{name}", daemon=True).start()

    def _run(self) -> None:
        started = time.monotonic()
        try:
            self.model = self._loader()
            log.info("model %s loaded in %.1f s", self.name, time.monotonic() - started)
        except TurnstreamError as error:
            self.error = error
        except Exception as error:  # what a damaged file makes a library raise can be anything
            log.exception("model %s could not be loaded", self.name)
            reason = "the memory does not suffice" if out_of_memory(error) else f"{type(error).__name__}: {error}"
            self.error = ModelLoadFailed(f"The model {self.name} could not be loaded: {reason}")
        finally:
            self.done.set()
            self._on_loaded()


def out_of_memory(error: Exception) -> bool:
    """Whether the device's memory did not suffice. torch says so with a RuntimeError, worded by device."""
    text = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    )
