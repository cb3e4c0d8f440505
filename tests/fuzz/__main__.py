"""Make thousands of generated calls to a running stack; none may be answered with 500, or in a way that /docs does not tell.

    python -m tests.fuzz --cases 5000 --seed 1
    python -m tests.fuzz --cases 5000 --out docs/benchmarks/fuzz.json

The stack is `turnstream up` with the scripted engine, in a folder of its own. The exit code is 1 where anything was found.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.bench.report import command, head
from tests.fuzz.fuzzing import EXCLUDED, SETTINGS, SIGNS, Fuzzed, fuzz
from tests.support.stack import running_stack


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file for the report")
    options = parser.parse_args()
    fuzzed = Fuzzed()
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder), **SETTINGS) as stack:
        before = stack.pids
        for fuzzed in fuzz(stack.url, options.cases, options.seed, Path(folder)):
            latest = fuzzed.rounds[-1]
            print(f"{fuzzed.cases} cases, {len(fuzzed.failures)} failures; {latest.seconds:.0f} s", flush=True)
            if latest.failures:
                print(latest.told)
        broken = before != stack.pids or any(sign in stack.logs for sign in SIGNS)
        if broken:
            print(f"something broke: {before} became {stack.pids}", stack.logs[-20_000:], sep="\n")
    if options.out:
        options.out.write_text(json.dumps(report(fuzzed), indent=2) + "\n")
    return 1 if broken or fuzzed.failures else 0


def report(fuzzed: Fuzzed) -> dict[str, object]:
    return {
        **head(command("tests.fuzz"), "schemathesis", "hypothesis", "fastapi", "uvicorn"),
        "checks": "all of schemathesis but " + "; ".join(f"{name}: {why}" for name, why in EXCLUDED.items()),
        "cases": fuzzed.cases,
        "failures": fuzzed.failures,
        "rounds": [{name: value for name, value in asdict(each).items() if name != "told"} for each in fuzzed.rounds],
        "answers": {call: dict(sorted(by_status.items())) for call, by_status in sorted(fuzzed.answers.items())},
    }


if __name__ == "__main__":
    sys.exit(main())
