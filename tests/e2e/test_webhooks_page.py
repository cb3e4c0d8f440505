"""docs/webhooks.md: its receiver, as a process, takes what a running service sends, and nothing else."""

import json
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from producer_api.webhooks.signing import Signer
from tests.support import recordings
from tests.support.documents import Block, pages
from tests.support.reader import Reader, assert_like
from tests.support.receivers import OTHER_SECRET, Receiver
from tests.support.stack import CLEAN
from tests.support.waiting import until
from turnstream.ports import free_port

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

[PAGE] = [page for page in pages() if page.name == "docs/webhooks.md"]
SENT = '"type": "diarization.completed"'
"""In the block that shows a body."""


def test_the_page(tmp_path: Path):
    (folder := tmp_path / "folder").mkdir()
    recordings.blip(folder).rename(folder / "talk.wav")
    ports = {port: f"127.0.0.1:{free_port()}" for port in ("8000", "9900")}
    url, receiver = f"http://{ports['8000']}", f"http://{ports['9900']}/"
    here = {"DATA_DIR": "data", "PORT": ports["8000"].rpartition(":")[2], "TURNSTREAM_URL": url}
    env = CLEAN | {"ENGINE": "scripted"} | here
    read: list[Block] = []

    def job() -> str:
        return httpx.get(f"{url}/api/v1/jobs").json()["jobs"][0]["id"]

    def webhook() -> dict:
        return httpx.get(f"{url}/api/v1/jobs/{job()}/webhook").json()

    with Reader(folder, env, ports) as reader:
        for block in PAGE.blocks:
            if SENT in block.text:
                continue
            if "/webhook" in block.text:
                until(lambda: webhook()["state"] == "delivered", 60)
            reader.read(block)
            read.append(block)
        until(lambda: len(webhook()["attempts"]) == 2, 60)  # the one that was asked for again
        taken = [line for line in reader.background.splitlines() if line.startswith("diarization.completed")]
        assert len(taken) == 2, "what came twice is dropped"
        assert taken[1].startswith(f"diarization.completed {job()} live")

        [body] = [block for block in PAGE.blocks if SENT in block.text]
        with Receiver() as other, (folder / "talk.wav").open("rb") as audio:
            form = {"audio": audio, "webhook_url": (None, other.url)}
            assert httpx.post(f"{url}/api/v1/jobs", files=form).status_code == 202
            until(lambda: other.received, 60)
        assert_like(json.loads(body.text), json.loads(other.received[0].body), body.where)

        # Another secret, no signature, a body that is not the one which was signed.
        for headers in ({}, signed_by_somebody_else(b"{}")):
            assert httpx.post(receiver, content=b"{}", headers=headers).status_code == 401
    assert len(read) == len(PAGE.blocks) - 1


def signed_by_somebody_else(body: bytes) -> dict[str, str]:
    return Signer([OTHER_SECRET]).headers("id", datetime.now(UTC), body.decode())
