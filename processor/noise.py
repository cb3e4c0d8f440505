"""Log lines of the Kafka client, few enough to be read: a broker that is away makes it write 50 a second."""

import asyncio
import logging
import threading
import time

NOISY = ("aiokafka", "faust", "mode")
SERVICES = ("processor.app", "processor.transport")
"""Ours by name; what they log, Faust's base classes say."""
INTERVAL = 30.0
"""Seconds between two lines of the same kind."""


class Quiet(logging.Filter):
    """Lets one line of each kind (logger and beginning of the unformatted text) of the noisy libraries pass in an interval."""

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] not in NOISY:
            return True
        kind, now = (record.name, str(record.msg)[:40]), time.monotonic()
        if now - self._passed.get(kind, float("-inf")) < INTERVAL:
            return False
        self._passed[kind] = now
        return True


def tame() -> None:
    """To be called after logging is configured."""
    for name in (*NOISY, *SERVICES):
        logging.getLogger(name).setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(Quiet())
    threading.excepthook = _thread_ended


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    """The consumer's thread ends like this when it is stopped while the broker is away: no news."""
    if not issubclass(args.exc_type, asyncio.CancelledError):
        threading.__excepthook__(args)
