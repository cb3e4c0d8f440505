"""`python -m turnstream.healthcheck URL`: whether a service of this machine is ready, for those who keep containers running.

Prints what it answers. Exit code 0 if that is a 2xx, 1 if not. Standard library only: it is called every few seconds.
"""

import sys
from urllib.error import HTTPError
from urllib.request import urlopen

TIMEOUT = 4.0
SHOWN = 500
"""Bytes of the answer that are printed."""


def main(url: str) -> int:
    try:
        with urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310 - an address from our own command line
            print(answer.read(SHOWN).decode(errors="replace"))
        return 0
    except HTTPError as error:
        print(error.code, error.read(SHOWN).decode(errors="replace"))
    except OSError as error:
        print(f"no answer: {error}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
