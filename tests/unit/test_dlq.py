"""`turnstream dlq` as it is typed, on an embedded broker and a data directory. What requeue asks for: test_requeue.py."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from schemas.errors import EngineCrashed, EventInvalid
from schemas.jobs import LIVE_RUN
from schemas.topics import DEAD_LETTER_LIMIT, Topic
from tests.support.brokers import EmbeddedBroker
from tests.support.worker import accept, job_event, new_job, record_of
from turnstream import cli, run_dir
from turnstream.bus.base import Position, Record
from turnstream.bus.kafka import KafkaBus
from turnstream.dead_letters import set_aside
from turnstream.dlq import printable, readable
from turnstream.object_store import connect
from turnstream.operations import installed
from turnstream.records import Records
from turnstream.settings import Settings

HUGE = b"\xff" * (DEAD_LETTER_LIMIT + 1)


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker()
    yield broker
    broker.kill()


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    for name in ("KAFKA_BOOTSTRAP_SERVERS", "BROKER", "DATA_DIR", "OBJECT_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "250")
    return Settings(_env_file=None)


@pytest.fixture
def records(settings: Settings) -> Records:
    return Records(connect(settings))


@pytest.fixture
async def bus(broker: EmbeddedBroker, settings: Settings, records: Records) -> AsyncIterator[KafkaBus]:
    """Of a stack that runs, as far as these commands can tell."""
    broker.kill()
    await broker.start()
    bus = KafkaBus(broker.bootstrap, timeout=30, idempotent=False)
    await bus.start()
    await bus.ensure_topics(records.agree_on_layout(1, installed()).topics())
    run_dir.state_path(settings.data_dir, "stack").parent.mkdir(parents=True)
    run_dir.write_state(settings.data_dir, "stack", {"bootstrap": broker.bootstrap})
    yield bus
    await bus.close()


@pytest.fixture
async def letters(bus: KafkaBus, records: Records) -> list[str]:
    """Three: a job that failed, something unreadable, something too large. Their job ids."""
    job = accept(records, new_job())
    records.put_error(job.id, LIVE_RUN, EngineCrashed().info)
    records.remove_mark(job.id, LIVE_RUN)
    torn, huge = (Record(Position("gpu-jobs", 5, n), b"k", value) for n, value in enumerate((b"\x1b[2Jtorn", HUGE)))
    for record, error in (
        (record_of(job_event(job)), EngineCrashed("boom")),
        (torn, EventInvalid("[bold]no[/bold]")),
        (huge, EventInvalid("too large")),
    ):
        value, headers = set_aside(records, record, error.info, 3)
        await bus.publish(Topic.JOBS_DLQ, key=record.key, value=value, headers=headers, partition=0)
    return [job.id]


async def dlq(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """In a thread: a command has an event loop of its own."""
    code = await asyncio.to_thread(cli.run, ["dlq", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


async def test_a_list_is_a_table_or_a_line_of_json_for_each(letters, capsys):
    code, out, _ = await dlq(capsys, "list")
    assert code == 0
    [head, *lines] = [line.split() for line in out.splitlines()]
    assert head == ["offset", "time", "error", "attempt", "job", "run", "src"]
    assert [[cells[0], *cells[2:]] for cells in lines] == [
        ["0", "engine_crashed", "3", letters[0], "live", "gpu-jobs/0/0"],
        ["1", "event_invalid", "3", "gpu-jobs/5/0"],
        ["2", "event_invalid", "3", "gpu-jobs/5/1"],
    ]
    code, out, _ = await dlq(capsys, "list", "--json")
    assert code == 0
    found = [json.loads(line) for line in out.splitlines()]
    assert [(letter["job"], letter["detail"]) for letter in found] == [
        (letters[0], "boom"),
        (None, "[bold]no[/bold]"),
        (None, "too large"),
    ]
    assert [letter["size"] for letter in found][1:] == [8, len(HUGE)]


@pytest.mark.usefixtures("bus")
async def test_an_empty_topic_says_so(capsys):
    assert await dlq(capsys, "list") == (0, "gpu-jobs.dlq holds no dead letters.\n", "")
    assert await dlq(capsys, "list", "--json") == (0, "", "")
    assert await dlq(capsys, "requeue", "--all") == (0, "No dead letters there.\n", "")


async def test_one_is_shown_with_headers_and_value(letters, capsys, tmp_path: Path):
    code, out, _ = await dlq(capsys, "show", "0")
    assert code == 0
    assert out.startswith(f"key: {letters[0]}\nce_specversion: 1.0\n")
    assert "error: engine_crashed\ndetail: boom\nattempt: 3\nsrc: gpu-jobs/0/0\n" in out
    assert json.loads(out[out.index("\n{") :])["job_id"] == letters[0]
    _, out, _ = await dlq(capsys, "show", "1")
    assert out.endswith("detail: [bold]no[/bold]\nattempt: 3\nsrc: gpu-jobs/5/0\n\n\\x1b[2Jtorn\n")
    code, out, _ = await dlq(capsys, "show", "2")
    assert (code, out.splitlines()[-1]) == (0, f"{len(HUGE)} bytes, too many for the topic: --out FILE fetches them")
    for offset, value in (("1", b"\x1b[2Jtorn"), ("2", HUGE)):
        assert (await dlq(capsys, "show", offset, "--out", "value"))[0] == 0
        assert (tmp_path / "value").read_bytes() == value


@pytest.mark.usefixtures("letters")
async def test_what_is_not_there_or_cannot_be_written_is_told(capsys):
    code, _, err = await dlq(capsys, "show", "17")
    assert (code, err) == (
        1,
        "turnstream: gpu-jobs.dlq has nothing at offset 17: `turnstream dlq list` shows what there is\n",
    )
    code, _, err = await dlq(capsys, "show", "1", "--out", "none/value")
    assert (code, err) == (2, "turnstream: none/value: No such file or directory\n")


async def test_requeue_says_what_it_did_to_each_and_fails_where_it_could_not(letters, capsys):
    code, out, _ = await dlq(capsys, "requeue", "--error", "engine_crashed")
    assert (code, out) == (0, f"0: job {letters[0]}: asked for again as run dlq-0\n")
    code, out, _ = await dlq(capsys, "requeue", "0", "1", "7")
    assert code == 1
    assert out.splitlines() == [
        f"0: job {letters[0]}: already asked for again as run dlq-0: queued",
        "1: published again as it came: gpu-jobs/5/0",
        "7: there is no such dead letter",
    ]
    code, out, _ = await dlq(capsys, "requeue", "--error", "no_such_code")
    assert (code, out) == (0, "No dead letters there.\n")


@pytest.mark.parametrize("which", [[], ["1", "--all"], ["--all", "--error", "x"]])
async def test_requeue_wants_to_know_which(which: list[str], capsys):
    code, _, err = await dlq(capsys, "requeue", *which)
    assert code == 2
    assert "--error CODE" in err


async def test_where_nothing_runs_it_says_what_to_do(capsys, settings: Settings, broker: EmbeddedBroker, monkeypatch):
    code, _, err = await dlq(capsys, "list")
    assert code == 2
    assert "no stack runs on data: start it with `turnstream up`" in err
    monkeypatch.setenv("PUBLISH_TIMEOUT", "1")
    broker.kill()  # as after a crash of the whole stack, whose state nobody took away
    run_dir.state_path(settings.data_dir, "stack").parent.mkdir(parents=True)
    run_dir.write_state(settings.data_dir, "stack", {"bootstrap": broker.bootstrap})
    code, _, err = await dlq(capsys, "list")
    assert code == 1
    assert f"the broker at {broker.bootstrap} does not serve" in err


def test_values_are_readable_and_move_no_cursor():
    assert readable(None) == "(no value)"
    assert readable(b'{"a": "\xc3\xa4\\u001b"}') == '{\n  "a": "ä\\u001b"\n}'
    assert readable("ä\x07\u202e".encode()) == "ä\\x07\\u202e"
    assert readable(b"\xff" * 33) == "ffffffff " * 7 + "ffffffff\nff"
    assert readable(b"\xff" * 5000).endswith("\n... 904 more bytes: --out FILE writes all")
    assert readable(b"[" * 100_000) == "[" * 100_000
    assert printable("a\nb\r") == "a\nb\\r"
