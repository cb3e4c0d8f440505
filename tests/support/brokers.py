"""A real broker as a child process that a test may kill, stop and start again on the same port."""

import os
import signal
import socket
import subprocess
from types import TracebackType
from typing import Self

from confluent_kafka.admin import AdminClient

from tests.support.waiting import until
from turnstream.bus.embedded import HOST, broker_command, wait_for


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def forget_topics(bootstrap: str) -> None:
    """Delete every topic of a broker that is not to be started anew for each test."""
    admin = AdminClient({"bootstrap.servers": bootstrap})

    def there() -> list[str]:
        return [topic for topic in admin.list_topics(timeout=10).topics if not topic.startswith("__")]

    if topics := there():
        for future in admin.delete_topics(topics).values():
            future.result(timeout=10)
        until(lambda: not there(), 10)


class EmbeddedBroker:
    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    async def start(self) -> None:
        command, extra = broker_command(self.port)
        self._process = subprocess.Popen(  # noqa: ASYNC220 - starting it takes no time
            command, env=os.environ | extra, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        await wait_for(self.bootstrap, timeout=10)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
            self._process = None

    def hang(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # On a busy machine it may answer once more before it is stopped.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
