"""Log lines of one shape in every process: to standard error, one line an event."""

import logging
import sys


def configure(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S"))
    # A line for each try of a request to the object store: what came of them all is said by the port's error.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    logging.basicConfig(level=level, handlers=[handler], force=True)
