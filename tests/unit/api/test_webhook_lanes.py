"""Places for webhooks: who has how many, and whose turn it is."""

from producer_api.webhooks.lanes import (
    AT_ONCE,
    OF_ONE_OWNER,
    TO_FAILING,
    TO_ONE_HOST,
    WAITING,
    Lane,
    Lanes,
    Place,
    Visit,
)
from schemas.jobs import LIVE_RUN

A, B = Lane("alice", "a"), Lane("alice", "b")


def visit(number: int) -> Visit:
    return Visit(f"job-{number}", LIVE_RUN)


def entered(lanes: Lanes, owner: str, host: str) -> list[Place]:
    """All places that an owner gets who has as many hosts as there are places."""
    found = [lanes.enter(Lane(owner, f"{host}-{number}")) for number in range(AT_ONCE)]
    return [place for place in found if place is not None]


def test_one_host_has_so_many_places():
    lanes = Lanes()
    places = [lanes.enter(A) for _ in range(TO_ONE_HOST + 1)]
    assert places[-1] is None and None not in places[:-1]
    assert lanes.enter(Lane("bob", A.host)) is None, "whoever has it told"
    assert lanes.enter(B) is not None
    lanes.leave(places[0], failed=False)
    assert lanes.free(A)


def test_one_owner_has_so_many_places_however_many_hosts_it_names():
    lanes = Lanes()
    places = entered(lanes, "alice", "hers")
    assert len(places) == OF_ONE_OWNER
    assert len(entered(lanes, "bob", "his")) == AT_ONCE - OF_ONE_OWNER
    lanes.leave(places[0], failed=False)
    assert lanes.free(A)


def test_hosts_that_fail_have_half_of_them():
    lanes = Lanes()
    for number in range(AT_ONCE):
        lanes.leave(lanes.enter(Lane("alice", f"bad-{number}")), failed=True)
    bad = entered(lanes, "alice", "bad")
    assert len(bad) == TO_FAILING
    good = entered(lanes, "bob", "good")
    assert len(good) == AT_ONCE - TO_FAILING
    lanes.leave(bad[0], failed=False)
    lanes.leave(good[0], failed=False)
    assert lanes.free(bad[0].lane), "it has mended"


def test_hosts_that_fail_leave_something_to_others_of_their_owner():
    lanes = Lanes()
    for number in range(AT_ONCE):
        lanes.leave(lanes.enter(Lane("alice", f"bad-{number}")), failed=True)
    entered(lanes, "alice", "bad")
    assert lanes.free(A)


def test_who_waits_has_turns_with_other_hosts():
    lanes = Lanes()
    places = [lanes.enter(lane) for lane in (A, A, B, B) * (TO_ONE_HOST // 2)]
    for number in range(4):
        assert lanes.wait(A if number < 2 else B, visit(number))
    assert lanes.next() is None
    for place in places:
        lanes.leave(place, failed=False)
    assert [lanes.next() for _ in range(5)] == [visit(0), visit(2), visit(1), visit(3), None]


def test_so_many_wait():
    lanes = Lanes()
    assert all(lanes.wait(A, visit(number)) for number in range(WAITING))
    assert not lanes.wait(A, visit(WAITING))
    assert lanes.wait(B, visit(WAITING))
