"""Several engines under one roof: turns, focus, parking, failures. The engines are scripted, their steps are noted."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from processor.engines import hub, scripted
from processor.engines.base import Engine, EngineContext, Failed, Finished, JobTask, ModelsChanged, Outcome, Progressed
from processor.engines.hub import Hub, engine_of
from processor.engines.scripted import ScriptedEngine
from processor.model_manager import Reason
from schemas.errors import ModelLoadFailed, UnknownOperation
from schemas.jobs import Lane
from schemas.operations import DIARIZE, TRANSCRIBE
from tests.support.engine import RoomyMemory, all_ended, ends, run
from tests.support.worker import new_job
from turnstream.settings import Settings

SIZE = 100
OPERATIONS = {operation.name: operation for operation in (DIARIZE, TRANSCRIBE)}
LONG = "sleep-600.wav"


@pytest.fixture(autouse=True, scope="module")
def _quick():
    """Steps without work are short: there are thousands of them here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub, "WAIT", 0.002)
        patch.setattr(scripted, "TICK", 0.001)
        yield


def task(model: str, filename: str = "a.wav", lane: Lane = Lane.INTERACTIVE) -> JobTask:
    return JobTask(new_job(filename, lane), "live", model, {})


class House:
    """A hub with room for so many of the two scripted models."""

    def __init__(self, room: float, **settings: object) -> None:
        self.steps: list[str] = []
        self.parked: list[str] = []
        self.hub = Hub(
            Settings(engine="scripted", scripted_model_bytes=SIZE, **settings),
            self._make,
            RoomyMemory(int(room * SIZE)),
        )

    def _make(self, model: str, context: EngineContext) -> Engine:
        house = self

        class Noted(ScriptedEngine):
            def step(self) -> list[Outcome]:
                house.steps.append(model)
                return super().step()

            def park(self) -> None:
                house.parked.append(model)
                super().park()

        return Noted(OPERATIONS[model], context)

    def open(self, model: str, filename: str = "a.wav", lane: Lane = Lane.INTERACTIVE) -> JobTask:
        opened = task(model, filename, lane)
        self.hub.open(opened)
        return opened

    def until_resident(self, *models: str) -> list[Outcome]:
        return run(self.hub, lambda _: set(self.hub._models.resident) == set(models))


def test_a_model_that_fits_beside_others_joins_them():
    house = House(2)
    jobs = [house.open("diarize", LONG), house.open("transcribe", "sleep-0.05.wav")]
    [finished] = ends(run(house.hub, lambda seen: bool(ends(seen))))
    assert finished.id == jobs[1].id
    assert set(house.hub._models.resident) == {"diarize", "transcribe"}
    assert house.parked == []


def test_two_resident_engines_take_turns_one_pass_a_step():
    house = House(2)
    house.open("diarize", LONG)
    house.open("transcribe", LONG)
    house.until_resident("diarize", "transcribe")
    house.steps.clear()
    for n in range(1, 9):
        house.hub.step()
        assert len(house.steps) == n
    assert set(zip(house.steps, house.steps[1:], strict=False)) == {
        ("diarize", "transcribe"),
        ("transcribe", "diarize"),
    }


def test_an_interactive_job_has_every_turn():
    house = House(2)
    house.open("diarize", LONG, Lane.BATCH)
    house.open("transcribe", LONG)
    house.until_resident("diarize", "transcribe")
    house.steps.clear()
    for _ in range(4):
        house.hub.step()
    assert house.steps == ["transcribe"] * 4


def test_a_focus_that_does_not_fit_parks_the_others_until_theirs_comes_again():
    house = House(1.5)
    first = house.open("diarize", LONG)
    house.until_resident("diarize")
    second = house.open("transcribe", LONG)
    for _ in range(10):
        house.hub.step()
    assert house.hub._models.resident == ("diarize",)  # it does not fit, and nobody said that it matters more
    house.hub.focus("transcribe")
    house.until_resident("transcribe")
    assert house.parked == ["diarize"]
    told = run(house.hub, bool)
    assert {outcome.id for outcome in told} == {second.id}
    house.hub.focus("diarize")
    house.until_resident("diarize")
    assert house.hub.open_jobs == 2
    assert {outcome.id for outcome in run(house.hub, bool)} == {first.id}


def test_parked_jobs_go_on_once_there_is_room():
    house = House(1.5, model_idle_seconds=1e-9)
    house.hub.focus("transcribe")
    short = house.open("transcribe", "sleep-0.05.wav")
    house.until_resident("transcribe")
    house.open("diarize", "sleep-0.05.wav")
    seen = run(house.hub, all_ended(house.hub))
    assert ends(seen)[0].id == short.id
    assert house.steps[-1] == "diarize"  # though another one still is in focus: it went idle


def test_a_parked_job_does_not_come_nearer_to_its_end():
    house = House(1.5)
    waiting = house.open("diarize", "sleep-0.3.wav")
    house.until_resident("diarize")
    house.hub.focus("transcribe")
    house.open("transcribe", "sleep-0.6.wav")
    house.until_resident("transcribe")
    assert ends(run(house.hub, lambda seen: bool(ends(seen))))[0].id != waiting.id
    house.hub.focus("diarize")
    [finished] = ends(run(house.hub, all_ended(house.hub)))
    assert isinstance(finished, Finished)
    assert finished.id == waiting.id


def test_without_a_focus_the_oldest_jobs_model_stays_until_it_has_no_more():
    house = House(1.5)
    jobs = [house.open("diarize"), house.open("transcribe"), house.open("diarize", "sleep-0.1.wav")]
    finished = [end.id for end in ends(run(house.hub, all_ended(house.hub)))]
    assert finished == [jobs[0].id, jobs[2].id, jobs[1].id]
    changes = house.hub.changes()
    assert changes is not None
    assert [load.model for load in changes.loads] == ["diarize", "transcribe"]


def test_an_engine_that_cannot_be_made_fails_its_jobs_alone():
    def make(model: str, context: EngineContext) -> Engine:
        if model == "transcribe":
            raise ImportError("no module named whisper")
        return engine_of(model, context)

    hub = Hub(Settings(engine="scripted"), make, RoomyMemory())
    bad, good, gone = task("transcribe"), task("diarize"), task("transcribe")
    for each in (bad, good, gone):
        hub.open(each)
    hub.cancel(gone.id)
    found = {end.id: end for end in ends(run(hub, all_ended(hub)))}
    assert set(found) == {bad.id, good.id}
    assert isinstance(failed := found[bad.id], Failed)
    assert failed.error.code == ModelLoadFailed.code
    assert "whisper" in failed.error.detail
    assert isinstance(found[good.id], Finished)


class Plain(ScriptedEngine):
    """An engine that needs no model."""

    def __init__(self) -> None:
        self._jobs, self._silent = {}, False

    def step(self) -> list[Outcome]:
        ended: list[Outcome] = [Finished(id, {}) for id in self._jobs]
        self._jobs.clear()
        return ended


def test_an_engine_without_a_model_goes_on_whatever_has_the_focus():
    def make(model: str, context: EngineContext) -> Engine:
        return Plain() if model == "speak" else engine_of(model, context)

    hub = Hub(Settings(engine="scripted"), make, RoomyMemory(0))
    hub.focus("diarize")
    hub.open(task("diarize", LONG))
    run(hub, lambda _: hub._models.resident == ("diarize",))
    plain = task("speak")
    hub.open(plain)
    assert [end.id for end in ends(run(hub, lambda seen: bool(ends(seen))))] == [plain.id]
    changes = hub.changes()
    assert changes is not None
    assert changes.resident == ("speak", "diarize")


def test_an_operation_without_an_engine_is_unknown():
    hub = Hub(Settings(engine="scripted"), memory=RoomyMemory())
    hub.open(task("transcript"))  # its stages have engines
    hub.open(task("smell"))
    codes = [end.error.code for end in ends(run(hub, all_ended(hub))) if isinstance(end, Failed)]
    assert codes == [UnknownOperation.code] * 2


def test_a_load_that_fails_fails_its_jobs_alone(monkeypatch: pytest.MonkeyPatch):
    errors = [OSError("broken file")]

    def model(settings: Settings) -> bytearray:
        if errors:
            raise errors.pop()
        return bytearray(1)

    monkeypatch.setattr("processor.engines.scripted._model", model)
    house = House(1.5)
    bad, good = house.open("diarize"), house.open("transcribe")
    found = {end.id: end for end in ends(run(house.hub, all_ended(house.hub)))}
    assert isinstance(failed := found[bad.id], Failed)
    assert failed.error.code == ModelLoadFailed.code
    assert isinstance(found[good.id], Finished)
    again = house.open("diarize")
    assert [end.id for end in ends(run(house.hub, all_ended(house.hub)))] == [again.id]


def test_what_changed_of_models_is_told_once():
    house = House(1)
    house.open("diarize")
    house.open("transcribe")
    told: list[ModelsChanged] = []

    def ended(_: list[Outcome]) -> bool:
        if (changes := house.hub.changes()) is not None:
            told.append(changes)
        return house.hub.open_jobs == 0

    run(house.hub, ended)
    assert [load.model for changes in told for load in changes.loads] == ["diarize", "transcribe"]
    [unloaded] = [unloaded for changes in told for unloaded in changes.unloads]
    assert (unloaded.model, unloaded.reason) == ("diarize", Reason.SWAP)
    assert told[-1].resident == ("transcribe",)
    assert house.hub.changes() is None


def test_nothing_to_do_is_a_short_wait():
    house = House(1)
    assert house.hub.step() == []
    house.open("diarize", LONG)
    assert house.hub.open_jobs == 1
    house.hub.close()
    assert house.hub.open_jobs == 0


def test_an_engines_files_are_read_ahead_of_its_first_job(tmp_path: Path):
    hub = Hub(Settings(engine="scripted"), memory=RoomyMemory())
    hub.prefetch("diarize")
    hub.prefetch("smell")  # no error
    assert hub.knows("diarize")
    assert not hub.knows("smell")


MODELS = st.sampled_from(sorted(OPERATIONS))
ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("open"),
            MODELS,
            st.sampled_from(list(Lane)),
            st.sampled_from(["a.wav", "error.wav", "sleep-0.02.wav"]),
        ),
        st.tuples(st.just("focus"), st.one_of(st.none(), MODELS)),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
        st.tuples(st.just("step")),
    ),
    max_size=20,
)


@given_settings(deadline=None, max_examples=40)
@given(actions=ACTIONS, room=st.sampled_from([0.5, 1, 1.5, 2]))
def test_every_job_has_one_end_whatever_has_the_focus(actions: list[tuple], room: float):
    house = House(room)
    seen: list[Outcome] = []
    opened: list[tuple[str, str]] = []
    cancelled: set[tuple[str, str]] = set()
    act: dict[str, Callable[..., None]] = {
        "open": lambda model, lane, name: opened.append(house.open(model, name, lane).id),
        "focus": house.hub.focus,
        "step": lambda: seen.extend(house.hub.step()),
    }
    for name, *arguments in actions:
        if name != "cancel":
            act[name](*arguments)
        elif opened:
            id = opened[arguments[0] % len(opened)]
            house.hub.cancel(id)
            cancelled.add(id)
    limit = time.monotonic() + 60
    while house.hub.open_jobs:  # whatever is parked has its turn
        assert time.monotonic() < limit
        for model in OPERATIONS:
            house.hub.focus(model)
            for _ in range(10):
                seen += house.hub.step()
                assert len(house.hub._models.resident) <= max(1, int(room))
    ended = [end.id for end in ends(seen)]
    assert len(ended) == len(set(ended))
    assert set(opened) - cancelled <= set(ended) <= set(opened)
    assert all(isinstance(outcome, Progressed | Finished | Failed) for outcome in seen)
