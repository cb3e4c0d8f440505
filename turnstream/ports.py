"""Which ports of this machine are free."""

import errno
import socket

from schemas.errors import PortTaken, SettingsInvalid


def claim_port(host: str, port: int, option: str = "--port") -> int:
    """`port` if it is free on `host`, or any free one for 0. Raises PortTaken with what to type instead, by the option's name."""
    try:
        return free_port(host, port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise SettingsInvalid(f"cannot listen on {host}: {error.strerror}; name an address with --host") from error
        why = "is taken" if error.errno == errno.EADDRINUSE else "wants more rights"
        raise PortTaken(f"port {port} {why}: `turnstream up {option} {_next_free(host, port)}`") from None


def _next_free(host: str, port: int) -> int:
    for candidate in range(max(port + 1, 8001), 65536):
        try:
            return free_port(host, candidate)
        except OSError:
            continue
    return 0


def free_port(host: str = "127.0.0.1", port: int = 0) -> int:
    """A port nobody listens on; `port` itself unless that is 0. Raises OSError."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        return probe.getsockname()[1]
