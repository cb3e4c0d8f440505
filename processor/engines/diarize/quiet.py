"""Upstream's warnings, switched off while its code runs."""

import threading
import warnings


class _Quiet:
    """A context that several threads may be in at once. `warnings.catch_warnings` alone, left in another order than
    entered, would restore what another thread had set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within = 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._within:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
            self._within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                self._caught.__exit__(None, None, None)


quiet = _Quiet()
