"""The programs of docs/subscribe.md, run as a reader runs them, and what a broker has for them."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from tests.support.documents import ROOT, Block, page
from tests.support.topics import records
from tests.support.waiting import until

PAGE = page(ROOT / "docs" / "subscribe.md")
JOB = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7")
END_LIMIT = 30.0
"""Seconds a program has to end in."""


def program(file: str) -> tuple[Block, str]:
    """A program of the page, and the command that the page starts it with."""
    [block] = [block for block in PAGE.blocks if block.marks.get("file") == file]
    [command] = [each.text.strip() for each in PAGE.blocks if each.language == "sh" and f" {file}" in each.text]
    return block, command


class Subscriber:
    """A program of the page in a folder of its own. A context manager; entering starts it."""

    def __init__(self, file: str, folder: Path, env: dict[str, str], libs: Path | None = None) -> None:
        block, self._command = program(file)
        folder.mkdir()
        (folder / file).write_text(block.text)
        if libs is not None:
            (folder / "libs").symlink_to(libs)
        self._folder = folder
        self._env = os.environ | env | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        self._process: subprocess.Popen[bytes] | None = None
        [self.group] = {line.split('"')[-2] for line in block.text.splitlines() if '"subscriber-' in line}

    def start(self) -> None:
        with (self._folder / "out").open("ab") as out, (self._folder / "err").open("ab") as err:
            self._process = subprocess.Popen(
                ["bash", "-c", f"exec {self._command}"], cwd=self._folder, env=self._env, stdout=out, stderr=err
            )

    def stop(self) -> None:
        """As Ctrl-C does. It may have ended before."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(END_LIMIT)
        finally:
            self._process.kill()
            self._process.wait(END_LIMIT)

    @property
    def lines(self) -> Counter[str]:
        """What it has printed of jobs, and how often; Faust has a banner beside that."""
        printed = (self._folder / "out").read_text().splitlines()
        return Counter(line for line in printed if JOB.match(line))

    def check(self) -> None:
        """Raises AssertionError where it has ended, with what it said."""
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "err").read_text()[-5000:]

    def __enter__(self) -> "Subscriber":
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()


def publish(bootstrap: str, message: Message, headers: dict[str, bytes], value: bytes) -> None:
    """A record beside another one."""
    producer = Producer({"bootstrap.servers": bootstrap, "allow.auto.create.topics": False})
    producer.produce(message.topic(), value, message.key(), message.partition(), headers=[*headers.items()])
    assert producer.flush(10) == 0


def until_read(bootstrap: str, subscribers: Iterable[Subscriber], topics: Iterable[str], seconds: float = 150) -> None:
    """Until each has committed all that is on the topics."""
    ends: dict[tuple[str, int], int] = {}
    for message in records(bootstrap, topics):
        place = message.topic(), message.partition()
        ends[place] = max(ends.get(place, 0), message.offset() + 1)
    wanted = [TopicPartition(*place) for place in ends]
    for subscriber in subscribers:
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": subscriber.group})

        def done(subscriber: Subscriber = subscriber, consumer: Consumer = consumer) -> bool:
            subscriber.check()
            committed = consumer.committed(wanted, timeout=10)
            return all(each.offset >= ends[each.topic, each.partition] for each in committed)

        try:
            until(done, seconds)
        finally:
            consumer.close()
