"""The bench's own parts, and its targets at a small size: the clock is simulated, so the outcome is the same anywhere."""

from functools import cache
from random import Random
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.jobs import Lane
from tests.bench.scheduler import measure, missed
from tests.bench.scheduling.optimum import lower_bound
from tests.bench.scheduling.patterns import MODELS, Arrival, Pattern, at_once, bursts, by_rate, pattern
from tests.bench.scheduling.plot import to_svg
from tests.bench.scheduling.simulation import Outcome, arrival_order, micro_batches

LOADS = {"diarize": 2000, "transcribe": 2000, "speak": 2000}


def small(name: str, arrivals: list[Arrival], step: int = 100) -> Pattern:
    return pattern(name, arrivals, LOADS, step)


def few(model: str, work: int, *ats: int) -> list[Arrival]:
    return [Arrival(at, model, work) for at in ats]


def test_the_targets_are_met_at_a_small_size():
    random = Random(3)  # noqa: S311
    long = [Arrival(0, MODELS[0], 15_000, Lane.BATCH), Arrival(500, MODELS[0], 15_000, Lane.BATCH)]
    for of in (
        small("uniform mix, at once", at_once(random, 100, 100)),
        small("uniform mix, 10 a second", by_rate(random, 200, 100)),
        small("80/10/10", by_rate(random, 100, 200, (8, 1, 1))),
        small("bursts", [arrival for arrival in bursts(random) if arrival.at < 60_000]),
        small("flood", at_once(random, 20, 500) + few(MODELS[0], 500, *[0] * 60), step=500),
        small("long files", long + [Arrival(1000 * n, random.choice(MODELS), 500) for n in range(20)], step=500),
    ):
        found, outcomes = measure(of)
        assert missed(of.name, found) == []
        assert all(len(outcome.waits) == len(of.arrivals) for outcome in outcomes.values())


def test_batches_of_the_measured_kind_take_what_was_measured():
    """Two hundred events of three operations, load 2 s, job 0.1 s, taken from a real broker: 27 swaps and 74 s in batches
    of 16, 9 swaps and 38 s in batches of 64."""
    of = small("uniform mix", at_once(Random(7), 200, 100))  # noqa: S311
    found = {size: micro_batches(size)(of) for size in (16, 64)}
    assert (found[16].swaps, found[64].swaps) == (27, 9)
    assert abs(found[16].total - 74_000) < 1000
    assert abs(found[64].total - 38_000) < 1000


def test_in_arrival_order_each_change_of_model_is_a_swap():
    random = Random(1)  # noqa: S311
    of = small("mix", [Arrival(0, random.choice("xy"), 100) for _ in range(50)])
    of = pattern("mix", list(of.arrivals), {"x": 1000, "y": 1000}, 100)
    changes = 1 + sum(a.model != b.model for a, b in zip(of.arrivals, of.arrivals[1:], strict=False))
    found = arrival_order(of)
    assert found.swaps == changes
    assert found.total == 50 * 100 + changes * 1000


def test_the_picture_is_well_formed():
    of = small("a < b", at_once(Random(1), 20, 100))  # noqa: S311
    picture = ElementTree.fromstring(to_svg([(of, {"plain": arrival_order(of)}, 8000)]))  # noqa: S314 (our own)
    assert any(element.text == "a < b" for element in picture.iter())


def test_a_wait_counts_from_the_arrival_or_from_when_the_model_was_left():
    of = pattern("two", [*few("x", 1000, 0, 500), *few("y", 1000, 100)], {"x": 3000, "y": 2000}, 1000)
    found: Outcome = arrival_order(of)
    # x from 3000 to 4000, y from 6000 to 7000, x again at 10000: it came at 500, was left at 4000.
    assert found.away == [("x", 3000), ("y", 5900), ("x", 6000)]


def brute_force(of: Pattern, grace: int) -> int | None:
    """The best of all schedules under the rule that swap at once and whose jobs are a step each, one visit after another."""
    jobs = {model: [a for a in of.arrivals if a.model == model] for model in of.loads}
    models = list(of.loads)

    @cache
    def best(done: tuple[int, ...], loaded: int, now: int, left: tuple[int, ...]) -> int | None:
        if all(n == len(jobs[model]) for n, model in zip(done, models, strict=True)):
            return now
        found = [after(done, loaded, now, left, m) for m in range(len(models)) if done[m] < len(jobs[models[m]])]
        return min((total for total in found if total is not None), default=None)

    def after(done: tuple[int, ...], loaded: int, now: int, left: tuple[int, ...], m: int) -> int | None:
        job = jobs[models[m]][done[m]]
        if m != loaded:
            if now > max(job.at, left[m]) + grace:
                return None
            left = tuple(now if index == loaded else at for index, at in enumerate(left))
            now += of.loads[models[m]]
        done = tuple(n + (index == m) for index, n in enumerate(done))
        return best(done, m, max(now, job.at) + job.work, left)

    return best((0,) * len(models), -1, 0, (0,) * len(models))


TINY = st.lists(
    st.builds(
        Arrival, at=st.integers(0, 40).map(lambda n: n * 100), model=st.sampled_from("xyz"), work=st.integers(50, 500)
    ),
    min_size=1,
    max_size=9,
)
TINY_LOADS = st.fixed_dictionaries({model: st.integers(100, 900) for model in "xyz"})


@settings(max_examples=150, deadline=None)
@given(TINY, TINY_LOADS, st.integers(1000, 6000))
def test_no_schedule_under_the_rule_beats_the_bound(arrivals: list[Arrival], loads: dict[str, int], max_wait: int):
    of = pattern("tiny", arrivals, loads, 500)
    best = brute_force(of, max_wait + of.step)
    if best is not None:
        assert lower_bound(of, max_wait, best) <= best


@settings(max_examples=150, deadline=None)
@given(TINY, TINY_LOADS, st.integers(0, 6000))
def test_where_all_came_at_once_the_bound_is_the_best(arrivals: list[Arrival], loads: dict[str, int], max_wait: int):
    arrivals = [Arrival(0, arrival.model, arrival.work) for arrival in arrivals]
    of = pattern("tiny", arrivals, loads, 500)
    best = brute_force(of, max_wait + of.step)
    if best is not None:
        bound = lower_bound(of, max_wait, best)
        assert best * 0.99 <= bound <= best
