"""Another diarizer, as a command that is given a WAV file and prints RTTM."""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.corpus.reference import from_rttm
from tests.bench.ways import Run


class Peer:
    """Its times hold the start of its process and of its models."""

    def __init__(self, name: str, command: str) -> None:
        self.name, self._command = name, shlex.split(command)

    def run(self, path: Path) -> Run:
        began = time.perf_counter()
        with subprocess.Popen([*self._command, str(path)], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            text = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)  # for the memory of this one child
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{self.name} ended with {process.returncode} on {path.name}")
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / (1 << 20)
        return Run(round(time.perf_counter() - began, 4), from_rttm(text), peak, 0.0)

    def close(self) -> None:
        """Nothing is left of it."""
