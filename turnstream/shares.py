"""How several workers share one machine: each has a name, a port for its metrics, and a GPU or its part of cores and memory."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from turnstream.settings import Settings

LISTING_LIMIT = 10.0
"""Seconds the driver has to list its GPUs."""
_GPU = re.compile(r"^(?P<part>[ \t]*)\S.*\(UUID: (?P<id>(?:GPU|MIG)-[^)]+)\)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker has to itself."""

    name: str
    env: Mapping[str, str] = field(default_factory=dict)


def shares(settings: Settings, environment: Mapping[str, str], gpus: Sequence[str]) -> list[Share]:
    """One for each worker. A single one has the name it had before there were several, and all of the machine."""
    count = settings.workers
    if count == 1:
        return [Share("worker", {"WORKER_NAME": "worker"})]
    found: list[Share] = []
    for number in range(count):
        name = f"worker-{number + 1}"
        env = {"WORKER_NAME": name, "WORKERS": str(count)}
        if settings.worker_id:
            env["WORKER_ID"] = f"{settings.worker_id}-{number + 1}"
        if settings.metrics_port:
            env["METRICS_PORT"] = str(settings.metrics_port + number)
        if gpus:
            env["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]
        elif "OMP_NUM_THREADS" not in environment:  # also what CTranslate2 and numpy go by
            env["OMP_NUM_THREADS"] = str(max(1, cores(environment) // count))
        found.append(Share(name, env))
    return found


def gpus(settings: Settings, environment: Mapping[str, str]) -> list[str]:
    """What CUDA_VISIBLE_DEVICES may name, without a library of CUDA's; empty where the networks run on something else."""
    if settings.device not in {"auto", "cuda"}:
        return []
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        named = (each.strip() for each in visible.split(","))
        return list(takewhile(lambda each: each not in {"", "-1"}, named))  # as CUDA reads it
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=LISTING_LIMIT
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return parse(listed)


def parse(listed: str) -> list[str]:
    """The devices in `nvidia-smi -L`: a GPU that is divided counts as its parts. Ids, since CUDA numbers GPUs otherwise."""
    found: list[str] = []
    for each in _GPU.finditer(listed):
        if each["part"] and found and found[-1].startswith("GPU-"):
            found.pop()
        found.append(each["id"])
    return found


def cores(environment: Mapping[str, str]) -> int:
    """Those this process may run on, which a container may limit, or what OMP_NUM_THREADS leaves it of them."""
    told = environment.get("OMP_NUM_THREADS", "")
    if told.isdecimal() and int(told):
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
