"""What is told of a run: figures for everybody, and for each breach the story of its job."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from tests.bench.report import head
from tests.chaos.evidence import Evidence
from tests.chaos.faults import Strike
from tests.chaos.oracle import Breach, Case, ended_at
from tests.chaos.stacks import Field

STORIES, LINES = 10, 40
"""Breaches that are told in full, and log lines of each."""
AROUND = 10.0
"""Seconds before a job's acceptance and after its end whose faults belong to its story."""


def waits(case: Case) -> list[float]:
    """Seconds from the answer 202 to the end, of every run that was not cancelled."""
    ends = ((case.runs.get(promise.id), promise) for promise in case.of.promises)
    found = [ended_at(end) - promise.at for end, promise in ends if end and end.claim and end.state != "cancelled"]
    return sorted(max(0.0, wait) for wait in found)


def figures(
    command: str,
    options: dict[str, Any],
    evidence: Evidence,
    strikes: list[Strike],
    breaches: list[Breach],
    seen: dict[str, Any],
) -> dict[str, Any]:
    """The raw report."""
    case, struck = Case(evidence), [strike for strike in strikes if strike.struck]
    waited = waits(case)
    ends = Counter(end.code or end.state for end in case.runs.values() if end.claim)
    events = [len(case.told.get(id, [])) for id, end in case.runs.items() if end.claim]
    began = min((strike.at for strike in strikes), default=0.0)
    return {
        **head(command, "faust-streaming", "aiokafka", "confluent-kafka", "minio"),
        "options": options,
        "faults": {
            "struck": len(struck),
            "not_struck": len(strikes) - len(struck),
            "kills": sum(strike.act == "kill" for strike in struck),
            "kills_at_points": sum(strike.act == "kill" and strike.point is not None for strike in struck),
            "by_act": _counted(strike.act for strike in struck),
            "by_victim": _counted(f"{strike.act} {strike.victim}" for strike in struck),
            "by_point": _counted(strike.point for strike in struck if strike.point),
        },
        "runs": {"acknowledged": len(evidence.promises), "ended": _counted(ends.elements()), **seen},
        "wait_seconds": {
            "median": round(median(waited), 2) if waited else None,
            "p95": round(quantiles(waited, n=20)[-1], 2) if len(waited) > 1 else None,
            "longest": round(waited[-1], 2) if waited else None,
        },
        "events": {
            "told_once": sum(count == 1 for count in events),
            "told_again": sum(count - 1 for count in events if count > 1),
            "gone_with_the_broker": sum(count == 0 for count in events),
        },
        "stages_computed": evidence.computed.total(),
        "stages_computed_again": evidence.computed.total() - len(evidence.computed),
        "breaches": [asdict(breach) for breach in breaches],
        "strikes": [strike.row(began) for strike in strikes],
    }


def _counted(names: Any) -> dict[str, int]:
    return dict(sorted(Counter(map(str, names)).items()))


def shortfall(report: dict[str, Any]) -> str:
    """What has struck of the kills that were asked for, half of them at named points; empty where all have."""
    faults, kills = report["faults"], report["options"]["kills"]
    if faults["kills"] >= kills and faults["kills_at_points"] >= kills // 2:
        return ""
    return f"{faults['kills']} of {kills} kills struck, {faults['kills_at_points']} of {kills // 2} at named points"


def text(report: dict[str, Any]) -> str:
    options, faults, runs = report["options"], report["faults"], report["runs"]
    wait, events = report["wait_seconds"], report["events"]
    lines = [
        f"stack {options['stack']}, engine {options['engine']}, delivery {options['delivery']}, seed {options['seed']}",
        f"kills      {faults['kills']}, {faults['kills_at_points']} of them at named points; "
        f"{faults['struck']} faults in all, {faults['not_struck']} found nobody",
        *_columns("victims", faults["by_victim"]),
        *_columns("points", faults["by_point"]),
        *_columns("unreached", runs["points_unreached"]),
        f"jobs       {runs['acknowledged']} runs acknowledged, {runs['refused']} refused, {runs['broken']} without answer; "
        f"{runs['published_twice']} events published twice, {runs['intruders']} unreadable records",
        *_columns("ended", runs["ended"]),
        f"wait       median {wait['median']} s, p95 {wait['p95']} s, longest {wait['longest']} s",
        f"events     {events['told_once']} told once, {events['told_again']} told again, "
        f"{events['gone_with_the_broker']} gone with the broker's memory",
        f"computed   {report['stages_computed']} stages, {report['stages_computed_again']} of them again",
        f"breaches   {len(report['breaches'])}",
    ]
    if short := shortfall(report):
        lines.append(f"too few    {short} in the time there was")
    return "\n".join(lines)


def _columns(title: str, counts: dict[str, int]) -> list[str]:
    if not counts:
        return []
    return [f"{title:<10} {', '.join(f'{name} {count}' for name, count in counts.items())}"]


def stories(breaches: list[Breach], evidence: Evidence, strikes: list[Strike], field: Field) -> str:
    """Of the first breaches: what is stored of the job, what was told of it, what the log says, what struck meanwhile."""
    logs = [line for log in sorted(field.folder.glob("*.log")) for line in _lines(log)]
    runs = Case(evidence).runs
    told: list[str] = []
    for breach in breaches[:STORIES]:
        ended = max((ended_at(end) for end in runs.values() if end.job == breach.job), default=0.0)
        told.append(f"\n{breach}")
        if not breach.job:
            continue
        promises = [each for each in evidence.promises if each.job == breach.job]
        told += [f"  promised {each}" for each in promises] or ["  promised to nobody"]
        told += [f"  object   {key}" for key in evidence.keys if breach.job in key]
        told += [f"  says     {key}: {body.decode()}" for key, body in evidence.bodies.items() if breach.job in key]
        told += [f"  event    {event}" for event in evidence.events if event.key == breach.job]
        since = min((each.at for each in promises), default=ended - AROUND if ended else 0.0) - AROUND
        until = (ended or since + 60) + AROUND
        told += [f"  struck   {each.at:.2f} {each}" for each in strikes if each.struck and since < each.at < until]
        told += [f"  log      {line[:300]}" for line in logs if breach.job in line][:LINES]
    if len(breaches) > STORIES:
        told.append(f"\nand {len(breaches) - STORIES} more: {'; '.join(map(str, breaches[STORIES : STORIES + 40]))}")
    return "\n".join(told)


def _lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()
