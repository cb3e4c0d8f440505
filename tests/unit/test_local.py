"""The supervisor's parts: ports, the lock, children, and the lifeline that takes them along."""

import asyncio
import errno
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from processor import __main__ as worker
from processor import engine_process, probes
from processor.worker import HAND_BACK_LIMIT
from schemas.errors import DataDirInUse, PortTaken, SettingsInvalid, StoreUnavailable
from tests.support.waiting import until
from turnstream import background, local, object_store, ports, run_dir
from turnstream.child import Child, described
from turnstream.lifeline import Lifeline
from turnstream.local import Stack
from turnstream.memory import resident
from turnstream.records import Mark, MarkState, Records
from turnstream.settings import STOP_REST, Settings


@pytest.fixture
def lines() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def lifeline() -> Iterator[Lifeline]:
    line = Lifeline()
    yield line
    line.close()


def child(lifeline: Lifeline, lines: list, *command: str, guarded: bool = False) -> Child:
    return Child("kid", command, os.environ, lifeline, lambda *line: lines.append(line), guarded=guarded)


def python(program: str) -> tuple[str, str, str]:
    return sys.executable, "-c", program


# Ports and the data directory


def test_a_taken_port_names_the_next_free_one():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"port {port} is taken: `turnstream up --port \d+`") as caught:
            ports.claim_port("127.0.0.1", port)
    offered = int(re.findall(r"\d+", caught.value.detail)[-1])
    assert ports.claim_port("127.0.0.1", offered) == offered


def test_port_zero_is_any_free_one():
    assert ports.claim_port("127.0.0.1", 0) > 1023


def test_an_address_of_another_machine_is_said():
    with pytest.raises(SettingsInvalid, match="name an address with --host"):
        ports.claim_port("192.0.2.1", 0)


def test_a_port_that_wants_more_rights(monkeypatch: pytest.MonkeyPatch):
    def refuse(host: str, port: int) -> int:
        if port == 80:
            raise PermissionError(errno.EACCES, "Permission denied")
        return port

    monkeypatch.setattr(ports, "free_port", refuse)
    with pytest.raises(PortTaken, match="port 80 wants more rights: `turnstream up --port 8001`"):
        ports.claim_port("127.0.0.1", 80)


def test_a_service_for_others_needs_a_key(tmp_path: Path):
    settings = Settings(_env_file=None, host="0.0.0.0", api_key=None, data_dir=tmp_path)
    with pytest.raises(SettingsInvalid, match="set API_KEY"):
        Stack(settings, lambda *_: None)


def test_one_stack_a_data_directory(tmp_path: Path):
    with run_dir.locked(tmp_path):
        run_dir.write_state(tmp_path, "stack", {"url": "http://127.0.0.1:8000"})
        with pytest.raises(DataDirInUse, match=r"http://127\.0\.0\.1:8000"), run_dir.locked(tmp_path):
            pass
    with run_dir.locked(tmp_path):
        pass


def test_a_state_that_is_not_there_or_damaged_is_empty(tmp_path: Path):
    assert run_dir.read_state(tmp_path, "worker") == {}
    run_dir.state_path(tmp_path, "worker").parent.mkdir()
    run_dir.state_path(tmp_path, "worker").write_text('{"pid": ')
    assert run_dir.read_state(tmp_path, "worker") == {}


def test_resident_memory_of_a_process():
    assert resident(os.getpid()) > 10_000_000


# Children


async def test_a_child_says_its_lines_and_how_it_ended(lifeline: Lifeline, lines: list):
    program = "import sys; print('out', flush=True); print('err', file=sys.stderr); print('long' * 50_000); sys.exit(3)"
    kid = child(lifeline, lines, *python(program))
    pids = []
    code = await kid.run(lambda: pids.append(kid.pid))
    assert code == 3
    assert pids[0] is not None
    assert kid.pid is None
    await asyncio.to_thread(until, lambda: sum(len(line) for _, line in lines) >= 200_006, 5)
    assert lines[:2] == [("kid", "out"), ("kid", "err")]


async def test_a_grandchild_goes_with_a_killed_child(lifeline: Lifeline, lines: list):
    program = (
        "import subprocess, sys, time\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True)\n"
        "time.sleep(60)"
    )
    kid = child(lifeline, lines, *python(program))
    ending = asyncio.create_task(kid.run(lambda: None))
    await asyncio.to_thread(until, lambda: lines, 10)
    grandchild = psutil.Process(int(lines[0][1]))
    os.kill(kid.pid, signal.SIGKILL)
    assert await ending == -signal.SIGKILL
    await asyncio.to_thread(until, lambda: not running(grandchild), 5)


async def test_a_child_that_does_not_stop_is_killed_and_that_is_said(lifeline: Lifeline, lines: list):
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    kid = child(lifeline, lines, *python(program))
    ending = asyncio.create_task(kid.run(lambda: None))
    await asyncio.to_thread(until, lambda: lines, 10)
    await kid.stop(0.2)
    assert await ending == -signal.SIGKILL
    assert kid.stopping
    assert ("stack", "kid did not stop within 0 s and is killed") in lines


async def test_what_has_nothing_to_put_away_is_killed_without_a_word(lifeline: Lifeline, lines: list):
    kid = child(lifeline, lines, "sleep", "60")
    ending = asyncio.create_task(kid.run(lambda: None))
    await asyncio.to_thread(until, lambda: kid.pid, 10)
    await kid.kill()
    assert (await ending, kid.stopping, lines) == (-signal.SIGKILL, True, [])


async def test_stopping_what_never_ran_is_nothing(lifeline: Lifeline, lines: list):
    await child(lifeline, lines, "true").stop(1)
    await child(lifeline, lines, "true").kill()


@pytest.mark.parametrize(
    ("code", "words"), [(0, "exit code 0"), (2, "exit code 2"), (-9, "killed by SIGKILL"), (-99, "killed by signal 99")]
)
def test_exit_codes_in_words(code: int, words: str):
    assert described(code) == words


# The embedded broker


def test_the_broker_has_the_port_that_is_asked_for(tmp_path: Path, lines: list):
    port = ports.free_port()
    stack = stack_of(tmp_path, lines, broker_port=port)
    assert stack.settings.kafka_bootstrap_servers == f"127.0.0.1:{port}"
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(PortTaken, match=rf"port {port} is taken: `turnstream up --broker-port \d+`"),
    ):
        stack_of(tmp_path, lines, broker_port=port)


def test_where_the_broker_is_that_of_others_its_port_is_nobodys_business(tmp_path: Path, lines: list):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        stack = stack_of(tmp_path, lines, broker_port=port, kafka_bootstrap_servers="127.0.0.1:9")
    assert stack.settings.kafka_bootstrap_servers == "127.0.0.1:9"


def test_the_broker_inherits_nothing_that_is_meant_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "SCHEMA_REGISTRY", "API_KEY"):
        monkeypatch.setenv(name, "http://192.0.2.1")
    stack = Stack(Settings(_env_file=None, data_dir=tmp_path, port=0), lambda *_: None)
    assert "http://192.0.2.1" not in stack._broker.env.values()
    assert stack._workers[0].env["API_KEY"] == "http://192.0.2.1"


async def test_a_broker_that_has_grown_is_restarted_only_when_nothing_is_pending(
    lifeline: Lifeline, lines: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(local, "MEMORY_CHECK", 0.02)
    monkeypatch.setattr(local, "BROKER_MEMORY", 1)
    stack = Stack(Settings(_env_file=None, data_dir=tmp_path, port=0), lambda *line: lines.append(line))
    records = Records(object_store.connect(stack.settings))
    records.put_mark("a-job", "live", Mark(state=MarkState.QUEUED, at=datetime.now(UTC)))
    looks: list[bool] = []
    monkeypatch.setattr(local, "_idle", lambda found, look=local._idle: looks.append(look(found)) or looks[-1])

    stack._broker = child(lifeline, lines, "sleep", "60")
    ending = asyncio.create_task(stack._broker.run(lambda: None))
    trimming = asyncio.create_task(stack._trim_broker())
    await asyncio.to_thread(until, lambda: len(looks) > 2, 10)
    assert not ending.done()
    records.remove_mark("a-job", "live")
    assert await ending == -signal.SIGKILL
    trimming.cancel()
    assert lines[-1][1] == "the broker has grown and nothing is pending: it starts afresh"


# The workers


def stack_of(tmp_path: Path, lines: list, **settings: object) -> Stack:
    return Stack(Settings(_env_file=None, data_dir=tmp_path, port=0, **settings), lambda *line: lines.append(line))


async def test_every_worker_of_the_embedded_stack_gets_partitions_of_each_operation(tmp_path: Path, lines: list):
    stack = stack_of(tmp_path, lines, workers=3)
    records = Records(object_store.connect(stack.settings))
    records.agree_on_layout(1, ["diarize"])
    await stack._lay_out()
    assert {child.env["PARTITION_GROUPS"] for child in [stack._api, *stack._workers]} == {"3"}
    assert records.layout().groups == 3
    assert records.layout().slot

    fewer = stack_of(tmp_path, lines, workers=2)
    await fewer._lay_out()
    assert fewer._workers[0].env["PARTITION_GROUPS"] == "3"


async def test_a_new_stack_leaves_the_layout_to_api_and_workers(tmp_path: Path, lines: list):
    stack = stack_of(tmp_path, lines, workers=2, partition_groups=5)
    await stack._lay_out()
    assert stack._api.env["PARTITION_GROUPS"] == "5"
    assert Records(object_store.connect(stack.settings)).layout() is None


async def test_the_layout_waits_for_an_object_store_that_is_away(
    tmp_path: Path, lines: list, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(local, "STORE_POLL", 0.01)
    away = [StoreUnavailable("it is away"), StoreUnavailable("it is away")]

    def grow(records: Records, wanted: int) -> int:
        if away:
            raise away.pop()
        return wanted

    monkeypatch.setattr(local, "_grow", grow)
    stack = stack_of(tmp_path, lines, workers=2)
    await stack._lay_out()
    assert [line for _, line in lines if "object store" in line] == ["waiting for the object store: it is away"]
    assert stack._laid_out.is_set()


async def test_on_a_broker_of_others_more_workers_than_groups_is_said_and_nothing_grows(tmp_path: Path, lines: list):
    stack = stack_of(tmp_path, lines, workers=2, kafka_bootstrap_servers="127.0.0.1:9", broker="kafka")
    await stack._lay_out()
    assert any("turnstream layout grow 2" in line for _, line in lines)
    assert Records(object_store.connect(stack.settings)).layout() is None


def test_a_stack_is_ready_when_each_worker_is(tmp_path: Path, lines: list, monkeypatch: pytest.MonkeyPatch):
    stack = stack_of(tmp_path, lines, workers=2)
    monkeypatch.setattr(Child, "pid", 7)
    run_dir.state_path(tmp_path, "x").parent.mkdir()
    assert [worker.name for worker in stack._workers] == ["worker-1", "worker-2"]
    run_dir.write_state(tmp_path, "worker-1", {"state": "ready", "pid": 7})
    assert not stack._workers_ready()
    run_dir.write_state(tmp_path, "worker-2", {"state": "ready", "pid": 8})  # of one that is gone
    assert not stack._workers_ready()
    run_dir.write_state(tmp_path, "worker-2", {"state": "ready", "pid": 7})
    assert stack._workers_ready()


def test_workers_that_share_gpus_are_told(tmp_path: Path, lines: list, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    stack = stack_of(tmp_path, lines, workers=3)
    assert [worker.env["CUDA_VISIBLE_DEVICES"] for worker in stack._workers] == ["4", "6", "4"]
    assert lines[0][1].startswith("3 workers share 2 GPUs: MODEL_MEMORY_BUDGET")


# Stopping


def test_a_worker_has_the_time_that_it_takes_at_most(tmp_path: Path, lines: list):
    steps = [HAND_BACK_LIMIT, max(worker.FAUST_STOP_LIMIT, engine_process.CLOSE_LIMIT), probes.CLOSE_LIMIT]
    assert sum(steps) + worker.BUS_CLOSE_LIMIT <= STOP_REST
    for drain in (0.0, 5.0, 120.0):
        stack = stack_of(tmp_path, lines, drain_limit=drain)
        assert drain + STOP_REST == stack.settings.stop_limit < stack._term_limit < local.stop_limit(stack.settings)
    assert local.stop_limit(Settings(_env_file=None)) < background.STOP_LIMIT


def test_a_worker_that_does_not_keep_to_its_time_ends_all_the_same():
    program = "import time; from processor import __main__ as worker; worker._end_within(0.2); time.sleep(60)"
    assert subprocess.run(python(program), timeout=30, check=False).returncode == worker.EX_BROKEN


# The lifeline

STARTER = """
import subprocess, sys, time
from turnstream.lifeline import Lifeline
import os
line = Lifeline()
for command in {commands!r}:
    child = subprocess.Popen(command, env=os.environ | line.env, pass_fds=line.fds, start_new_session=True)
    print(child.pid, flush=True)
time.sleep(60)
"""
WATCHING = "import signal; from turnstream import lifeline; lifeline.watch({grace}); {rest}"


def starter(*commands: tuple[str, ...]) -> subprocess.Popen[str]:
    """A process that starts these on its lifeline and prints their pids."""
    program = STARTER.format(commands=[list(command) for command in commands])
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


def running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def kill_the_starter_of(command: tuple[str, ...], ready) -> psutil.Process:
    with starter(command) as parent:
        process = psutil.Process(int(parent.stdout.readline()))
        until(lambda: ready(process), 10)
        parent.kill()
    return process


def test_any_program_dies_with_its_starter():
    command = (sys.executable, "-m", "turnstream.lifeline", "sleep", "60")
    process = kill_the_starter_of(command, lambda it: it.name() == "sleep" and it.children())
    until(lambda: not running(process), 5)


def test_a_python_child_dies_with_its_starter(tmp_path: Path):
    mark = tmp_path / "watching"
    command = python(WATCHING.format(grace=30, rest=f"open({str(mark)!r}, 'w'); signal.pause()"))
    process = kill_the_starter_of(command, lambda _: mark.exists())
    until(lambda: not running(process), 5)  # by SIGTERM, long before the grace is over


def test_a_python_child_that_ignores_sigterm_dies_after_the_grace(tmp_path: Path):
    mark = tmp_path / "watching"
    deaf = (
        f"signal.signal(signal.SIGTERM, signal.SIG_IGN); open({str(mark)!r}, 'w'); exec('while True: signal.pause()')"
    )
    process = kill_the_starter_of(python(WATCHING.format(grace=0.3, rest=deaf)), lambda _: mark.exists())
    until(lambda: not running(process), 5)


def test_a_process_started_by_hand_has_no_lifeline():
    program = "from turnstream import lifeline; import threading; lifeline.watch(); print(threading.active_count())"
    assert subprocess.check_output(python(program), text=True, timeout=30) == "1\n"
