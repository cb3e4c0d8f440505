"""Generated calls against a running API, judged by its own description: schemathesis, in rounds until enough were made."""

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

KEY = "fuzz-key"
SETTINGS = {
    "ENGINE": "scripted",
    "API_KEY": f"{KEY},key-of-somebody-else",
    "WAIT_LIMIT": "5",
    "MAX_UPLOAD_BYTES": "100000",
    "MAX_AUDIO_SECONDS": "60",
    "WEBHOOK_SECRET": f"whsec_{b64encode(bytes(32)).decode()}",
    "WEBHOOK_URL": "http://127.0.0.1:9/nobody-listens",
    "WEBHOOK_ALLOW_HTTP": "true",
    "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
}
"""Of the stack: small limits, so that they are met."""
EXCLUDED = {
    "positive_data_acceptance": "what is a recording, and what an operation takes, is more than a schema can say",
    "negative_data_rejection": "what_is_not_described_is_refused stands for it",
}
SIGNS = ("an unexpected error", "Exception in ASGI application", "is started again", "died (exit code")
"""What the log of a stack says where something broke that a caller may not have seen."""
OPERATIONS = 20
"""About as many are in the description: of so many the calls of a round are."""
MOST = 100
"""Calls of each in one round: several rounds with different seeds see more."""
CALL_LIMIT = 30
"""Seconds one call may take."""
ROUND_LIMIT = 3600
"""Seconds a round may take."""
_RUN = "from schemathesis.cli import schemathesis; schemathesis()"


@dataclass
class Round:
    seed: int
    cases: int
    seconds: float
    failures: list[dict[str, object]]
    told: str
    """What schemathesis says of it, with a way to repeat each failure."""


@dataclass
class Fuzzed:
    rounds: list[Round] = field(default_factory=list)
    answers: dict[str, dict[str, int]] = field(default_factory=dict)
    """How many by method and route, then by status: as the API counts them."""

    @property
    def cases(self) -> int:
        return sum(each.cases for each in self.rounds)

    @property
    def failures(self) -> list[dict[str, object]]:
        return [failure for each in self.rounds for failure in each.failures]


def fuzz(url: str, cases: int, seed: int, folder: Path) -> Iterator[Fuzzed]:
    """At least so many calls, of which the API answers each; what was found so far comes after each round."""
    fuzzed = Fuzzed()
    while fuzzed.cases < cases:
        of_each = min(MOST, max(10, (cases - fuzzed.cases) // OPERATIONS))
        fuzzed.rounds.append(_round(url, of_each, seed + len(fuzzed.rounds), folder))
        fuzzed.answers = answers(url)
        yield fuzzed


def _round(url: str, of_each: int, seed: int, folder: Path) -> Round:
    report = folder / f"round-{seed}.json"
    arguments = [
        "--no-color",
        "run",
        f"{url}/openapi.json",
        f"--header=x-api-key: {KEY}",
        f"--max-examples={of_each}",
        f"--seed={seed}",
        "--phases=examples,coverage,fuzzing,stateful",
        "--checks=all",
        f"--exclude-checks={','.join(EXCLUDED)}",
        "--continue-on-failure",
        "--generation-database=none",
        f"--request-timeout={CALL_LIMIT}",
        "--report=json",
        f"--report-json-path={report}",
    ]
    root = Path(__file__).parents[2]
    env = os.environ | {"SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *arguments],
        env=env,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=ROUND_LIMIT,
    )
    if not report.exists():
        raise RuntimeError(f"schemathesis did not run: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    found = json.loads(report.read_text())
    failures = [*found["failures"], *found["errors"]]
    assert found["complete"] and (done.returncode == 0) is (not failures), done.stdout[-3000:]
    return Round(seed, found["test_cases"]["generated"], round(found["running_time"], 1), failures, done.stdout)


def answers(url: str) -> dict[str, dict[str, int]]:
    text = httpx.get(f"{url}/metrics", timeout=CALL_LIMIT).raise_for_status().text
    counted: dict[str, dict[str, int]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples if family.name == "turnstream_http_requests" else ():
            by_status = counted.setdefault(f"{sample.labels['method']} {sample.labels['route']}", {})
            by_status[sample.labels["status"]] = int(sample.value)
    return counted
