"""The schedule of faults: the same from the same seed, half of the kills at named points, each point as often as the others."""

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.schedule import Act, Ground, Victim, points, schedule, victim_at

LOCAL = Ground(tuple(Victim), points(transactional=True), session=30, joining=True)
EMBEDDED = Ground(
    tuple(victim for victim in Victim if victim is not Victim.STORE), points(transactional=False), 6, joining=False
)
ROOT = Path(__file__).parents[3]
OF_COMMANDS = {"run.published", "replay.requested"}
"""Commands pass these. They are killed between any two steps in unit/test_requeue.py and unit/replay/test_replay.py; whoever
delivers webhooks, in unit/api/test_webhook_delivery.py.
"""


@given(st.integers(0, 10**6), st.integers(1, 60))
def test_the_same_seed_gives_the_same_schedule(seed: int, kills: int):
    assert schedule(seed, kills, 2, LOCAL) == schedule(seed, kills, 2, LOCAL)
    assert schedule(seed, kills, 2, LOCAL) != schedule(seed + 1, kills, 2, LOCAL)


@given(st.integers(0, 10**6), st.integers(1, 60), st.sampled_from([LOCAL, EMBEDDED]))
def test_every_second_kill_is_at_a_point_and_only_what_is_there_is_struck(seed: int, kills: int, ground: Ground):
    faults = schedule(seed, kills, 2, ground)
    killed = [fault for fault in faults if fault.act is Act.KILL]
    assert len(killed) == kills
    assert sum(bool(fault.points) for fault in killed) == kills // 2
    assert all(sorted(fault.points) == sorted(ground.points) for fault in faults if fault.points)
    assert {fault.victim for fault in faults} <= set(ground.victims)
    assert ground.joining or Act.JOIN not in {fault.act for fault in faults}
    assert all(0 <= fault.gap <= 8 and fault.hold >= 0 for fault in faults)


def test_each_point_comes_as_often_as_the_others():
    faults = schedule(1, 4 * len(LOCAL.points), 2, LOCAL)
    counts = Counter(fault.points[0] for fault in faults if fault.points)
    assert set(counts) == set(LOCAL.points)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_some_stops_last_longer_than_the_session():
    stops = [fault.hold for fault in schedule(1, 400, 2, EMBEDDED) if fault.act is Act.STOP]
    assert any(hold > EMBEDDED.session for hold in stops)
    assert sum(hold > EMBEDDED.session for hold in stops) < len(stops) / 2


@pytest.mark.parametrize(
    ("point", "victim"),
    [(point, Victim.API) for point in ("intake.audio", "intake.promised", "run.marked", "sweep.published")]
    + [("engine.opened", Victim.ENGINE)]
    + [(point, Victim.WORKER) for point in ("opening.looked", "delivery.told", "transaction.sent", "retry.marked")],
)
def test_who_passes_a_point(point: str, victim: Victim):
    assert point in LOCAL.points
    assert victim_at(point) is victim


def test_every_point_is_in_the_schedule_or_its_process_is_killed_elsewhere():
    sources = [
        path for package in ("turnstream", "producer_api", "processor") for path in (ROOT / package).rglob("*.py")
    ]
    passed = {point for path in sources for point in re.findall(r'points\.passing\("(.+?)"\)', path.read_text())}
    assert passed > OF_COMMANDS
    elsewhere = OF_COMMANDS | {point for point in passed if point.startswith("webhook.")}
    assert set(LOCAL.points) == passed - elsewhere
