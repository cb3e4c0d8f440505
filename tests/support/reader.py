"""A reader who types what a page shows, into a shell of their own in an empty folder, and looks at what comes."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psutil

from schemas.errors import JobNotFound
from tests.support.documents import LOCAL, Block
from tests.support.waiting import until
from turnstream.client import Client

COMMAND_LIMIT = 240.0
"""Seconds a command of a page may take, on a machine that has much else to do."""
READY_LIMIT = 120.0
"""Seconds until something in the background says that it is ready."""


class Shell:
    """One bash, so that variables and the folder last from one command to the next."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._out, self._err = folder.parent / "out.txt", folder.parent / "err.txt"
        self._read, self._write = os.pipe()
        self._groups: dict[int, Path] = {}
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=dict(env),
            text=True,
            pass_fds=[self._write],
        )
        self._type("set -m")  # what runs in the background is a group of processes of its own

    def run(self, command: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        self._type(f"{{ {command}\n}} >{self._out} 2>{self._err} </dev/null\necho $? >&{self._write}")
        code = self._told(command)
        return code, self._out.read_text(errors="replace"), self._err.read_text(errors="replace")

    def start(self, command: str, ready: str) -> None:
        """In the background; returns when it has printed `ready`."""
        log = self._folder.parent / f"background-{len(self._groups)}.txt"
        self._type(f"{{ {command}\n}} >{log} 2>&1 </dev/null &\necho $! >&{self._write}")
        pid = self._told(command)
        self._groups[pid] = log

        def said() -> bool:
            text = log.read_text(errors="replace") if log.exists() else ""
            assert psutil.pid_exists(pid), f"{command}\nended before it said {ready!r}:\n{text}"
            return ready in text

        until(said, READY_LIMIT)

    @property
    def background(self) -> str:
        """The last of what it printed."""
        return "\n".join(log.read_text(errors="replace")[-2000:] for log in self._groups.values())

    def close(self) -> None:
        for group in reversed(self._groups):
            _end(group)
        self._bash.kill()
        self._bash.communicate()
        os.close(self._read)
        os.close(self._write)

    def _type(self, text: str) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.write(text + "\n")
        self._bash.stdin.flush()

    def _told(self, command: str) -> int:
        deadline, told = time.monotonic() + COMMAND_LIMIT, b""
        while not told.endswith(b"\n"):
            assert select.select([self._read], [], [], max(0, deadline - time.monotonic()))[0], f"no end of: {command}"
            told += os.read(self._read, 64)
        return int(told)


def _end(group: int) -> None:
    """A group of processes and all that they started."""
    family = [process for process in psutil.process_iter() if _in(process, group)]
    family += [child for process in family for child in process.children(recursive=True)]
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGTERM)
    _, left = psutil.wait_procs(family, timeout=20)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _in(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group
    except ProcessLookupError:
        return False


class Reader:
    """Reads a page from its top. `addresses`: where that is which a page calls 127.0.0.1:PORT, by the port."""

    def __init__(self, folder: Path, env: Mapping[str, str], addresses: Mapping[str, str], key: str = "") -> None:
        self._folder = folder
        self._addresses = dict(addresses)
        self._key = key
        self._jobs: list[str] = []
        self._said = ""
        bin_ = Path(sys.executable).parent
        if not (folder / ".venv").exists():
            (folder / ".venv").symlink_to(bin_.parent)  # as the pages have it
        self._shell = Shell(folder, {**os.environ, **env, "PATH": f"{bin_}:{os.environ['PATH']}"})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._shell.close()

    def read(self, block: Block) -> None:
        text = self._translated(block.text)
        match block.language:
            case _ if name := block.marks.get("file"):
                path = self._folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            case "sh" if "background" in block.marks:
                self._shell.start(text, block.marks["background"])
            case "sh":
                for command in commands(text):
                    self._type(command, block)
            case "python":
                program = self._folder.parent / f"line-{block.line}.py"
                program.write_text(text)
                self._type(f"python {program}", block)
            case "json":
                assert_like(json.loads(block.text), document(self._said), block.where)
            case "text":
                assert_reads(block.text, self._said, block.where)

    @property
    def background(self) -> str:
        """The last of what lasts has printed."""
        return self._shell.background

    def type(self, text: str) -> None:
        """What is typed before the page: it may fail."""
        for command in commands(self._translated(text)):
            _, out, err = self._shell.run(command)
            self._remember(out, err)

    def _type(self, command: str, block: Block) -> None:
        if "at-once" not in block.marks:
            self._settle()
        code, out, err = self._shell.run(command)
        told = f"{block.where}: {command}\n{out}\n{err}\n{self._shell.background}"
        assert code == int(block.marks.get("exit", 0)), f"exit code {code}: {told}"
        assert ("urn:turnstream:problem" in out) is ("problem" in block.marks), told
        self._said = self._as_in_pages(out or err)
        self._remember(out, err)

    def _remember(self, out: str, err: str) -> None:
        """The job that was shown last is the one that a page calls $JOB."""
        shown = re.findall(r"^job ([0-9a-f-]{36})\b", out + err, re.MULTILINE)
        with suppress(ValueError):
            answer = document(out)
            if isinstance(answer, dict) and {"id", "state"} <= answer.keys():
                shown.append(answer["id"])
        for job in shown:
            self._jobs = [*(known for known in self._jobs if known != job), job]
            self._shell.run(f"export JOB={job}")

    def _settle(self) -> None:
        """A reader comes back for a result; this one waits until all is done that was asked for."""
        if not self._jobs:
            return
        with Client(f"http://{self._addresses['8000']}", self._key or None) as client:

            def ended(job: str) -> bool:
                try:
                    return all(view.state.ended for view in client.runs(job))
                except JobNotFound:  # erased by the page
                    return True

            until(lambda: all(map(ended, self._jobs)), COMMAND_LIMIT)

    def _translated(self, text: str) -> str:
        return translated(text, self._addresses)

    def _as_in_pages(self, text: str) -> str:
        for port, address in self._addresses.items():
            text = text.replace(address, f"127.0.0.1:{port}")
        return text


def translated(text: str, addresses: Mapping[str, str]) -> str:
    """With the addresses there are in place of those that a page shows."""
    return LOCAL.sub(lambda match: addresses.get(match[1], match[0]), text)


def commands(text: str) -> Iterator[str]:
    """A block's commands: as many lines each as bash wants for one."""
    lines: list[str] = []
    for line in text.splitlines():
        lines.append(line)
        command = "\n".join(lines)
        if not command.strip() or command.lstrip().startswith("#"):
            lines = []
        elif not line.endswith("\\") and complete(command):
            yield command
            lines = []
    assert not lines, f"not a command: {lines}"


def complete(command: str) -> bool:
    parsed = subprocess.run(["bash", "-n"], input=command, capture_output=True, text=True, timeout=10, check=False)
    return parsed.returncode == 0 and not parsed.stderr  # an open here-document is a warning


def document(said: str) -> Any:
    """The JSON that an answer ends with, after headers if there are any. Raises ValueError."""
    start = min((at for bracket in "{[" if (at := said.find(bracket)) >= 0), default=len(said))
    return json.loads(said[start:])


def assert_like(shown: Any, got: Any, where: str) -> None:
    """Whether an answer has what a page shows of it; it may have more."""
    number = (int, float)
    same = isinstance(got, type(shown)) or (type(shown) in number and type(got) in number)
    assert same, f"{where}: the page shows {shown!r}, the answer has {got!r}"
    if isinstance(shown, dict):
        assert shown.keys() <= got.keys(), f"{where}: {sorted(shown.keys() - got.keys())} are not in the answer {got}"
        for key, value in shown.items():
            assert_like(value, got[key], where)
            assert key not in ("code", "status") or value == got[key], f"{where}: {key} is {got[key]!r}"
    elif isinstance(shown, list) and shown:
        assert got, f"{where}: the page shows items, the answer has none"
        for item in shown:
            assert_like(item, got[0], where)


def assert_reads(shown: str, said: str, where: str) -> None:
    pattern = ".*".join(re.escape(part.strip("\n")) for part in shown.rstrip().split("..."))
    plain = "\n".join(line.rstrip() for line in said.strip("\n").splitlines())
    assert re.fullmatch(pattern, plain, re.DOTALL), f"{where}: the page shows\n{shown}\nand it printed\n{said}"
