import json
import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from schemas.errors import WeightsUnavailable
from turnstream.settings import Settings
from turnstream.weights import cache


def soon() -> float:
    return time.monotonic() + 10


def put(directory: Path, revision: str = "r1") -> None:
    (directory / "part").mkdir(parents=True)
    (directory / "part" / "model.bin").write_bytes(b"weights")
    cache.write_manifest(directory, revision)


def test_the_cache_directory_is_the_users_own_unless_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("CACHE_DIR", raising=False)
    assert cache.cache_dir(Settings(cache_dir=tmp_path / "mine")) == tmp_path / "mine"
    assert cache.cache_dir(Settings()).name == "turnstream"


def test_what_was_written_verifies(tmp_path: Path):
    put(tmp_path / "pack")
    assert cache.verified(tmp_path / "pack", "r1")


def test_damage_is_seen(tmp_path: Path):
    put(tmp_path / "pack")
    model, manifest = tmp_path / "pack/part/model.bin", tmp_path / "pack" / cache.MANIFEST
    whole = manifest.read_text()

    model.write_bytes(b"weighty")
    assert not cache.verified(tmp_path / "pack", "r1")
    model.write_bytes(b"weights")
    assert cache.verified(tmp_path / "pack", "r1")
    assert not cache.verified(tmp_path / "pack", "r2")
    for broken in (whole[:-10], "[]", json.dumps({"revision": "r1"}), json.dumps({"revision": "r1", "files": [1]})):
        manifest.write_text(broken)
        assert not cache.verified(tmp_path / "pack", "r1")
    manifest.write_text(whole)
    model.unlink()
    assert not cache.verified(tmp_path / "pack", "r1")
    assert not cache.verified(tmp_path / "absent", "r1")


def test_a_directory_is_there_only_when_its_block_ended_well(tmp_path: Path):
    target = tmp_path / "pack"
    with pytest.raises(KeyboardInterrupt), cache.built(target) as directory:
        put(directory / "half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []

    with cache.built(target) as directory:
        put(directory)
        assert not target.exists()
    assert cache.verified(target, "r1")


def test_a_damaged_directory_is_replaced(tmp_path: Path):
    put(tmp_path / "pack")
    (tmp_path / "pack" / "part" / "model.bin").write_bytes(b"")
    with cache.built(tmp_path / "pack") as directory:
        put(directory)
    assert cache.verified(tmp_path / "pack", "r1")
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]


def hold(folder: Path, pipe: Connection) -> None:
    with cache.one_builder(folder, deadline=soon(), say=pipe.send):
        (folder / ".build-unfinished" / "deep").mkdir(parents=True)
        pipe.send("mine")
        pipe.recv()


def test_one_builder_at_a_time_and_a_killed_one_leaves_no_trace(tmp_path: Path):
    ours, theirs = multiprocessing.Pipe()
    other = multiprocessing.get_context("spawn").Process(target=hold, args=(tmp_path, theirs))
    other.start()
    assert ours.poll(30)
    assert ours.recv() == "mine"

    said: list[str] = []
    with pytest.raises(WeightsUnavailable, match="Another process"):  # noqa: SIM117
        with cache.one_builder(tmp_path, deadline=time.monotonic() + 0.5, say=said.append):
            pytest.fail("two builders at once")
    assert said == ["waiting for another process that prepares the weights"]

    other.kill()
    other.join(10)
    with cache.one_builder(tmp_path, deadline=soon(), say=said.append):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
