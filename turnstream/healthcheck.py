"""`python -m turnstream.healthcheck URL`: whether a service of this machine is ready, for those who keep containers running.

Prints what it answers. Exit code 0 if that is a 2xx, 1 if not. Standard library only: it is called every few seconds.
"""

import sys
from urllib.error import HTTPError
from urllib.request import urlopen

TIMEOUT = 4.0
SHOWN = 500
"""Bytes of the answer that are printed."""


def check(url: str) -> tuple[bool, str]:
    """Whether it answers well, and what it says."""
    try:
        with urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310 - an address from our own command line
            return True, answer.read(SHOWN).decode(errors="replace")
    except HTTPError as error:
        return False, f"{error.code} {error.read(SHOWN).decode(errors='replace')}"
    except OSError as error:
        return False, f"no answer: {error}"


def main(url: str) -> int:
    well, says = check(url)
    print(says.strip())  # noqa: T201 - what the container engine shows of it
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
