"""Which models stay and which go, and what becomes of a load that fails. Models here take as much as they say."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.model_manager import Loaded, ModelManager, ModelSource, Reason, Unloaded, out_of_memory
from schemas.errors import ModelLoadFailed, WeightsUnavailable
from tests.support.engine import RoomyMemory

LIMIT = 30


class Model:
    """Lets go of what it takes when nobody refers to it any more."""

    def __init__(self, name: str, memory: RoomyMemory, size: int) -> None:
        self.name = name
        self._memory, self._size = memory, size
        memory.taken += size

    def __del__(self) -> None:
        self._memory.taken -= self._size


class House:
    """A manager, with models named by letters that take what `sizes` says; `errors` holds what loads are to raise."""

    def __init__(self, budget: int, sizes: dict[str, int], *, guessed: bool = True, idle_seconds: float = 0) -> None:
        self.memory = RoomyMemory(budget)
        self.loaded = threading.Event()
        self.evicted: list[str] = []
        self.errors: dict[str, list[Exception]] = {}
        self.go = threading.Event()
        self.go.set()
        self.models = ModelManager(
            self.memory, idle_seconds=idle_seconds, on_change=self.loaded.set, on_evict=self.evicted.append
        )
        for name, size in sizes.items():
            self.models.register(ModelSource(name, self._loader(name, size), size=size if guessed else None))

    def _loader(self, name: str, size: int) -> Callable[[], Model]:
        def load() -> Model:
            assert self.go.wait(LIMIT)
            if self.errors.get(name):
                raise self.errors[name].pop(0)
            return Model(name, self.memory, size)

        return load

    def want(self, name: str) -> None:
        """Ask until it is there. Raises what its load raised."""
        while True:
            self.loaded.clear()
            if (model := self.models.get(name)) is not None:
                assert model.name == name
                return
            assert self.loaded.wait(LIMIT)

    @property
    def events(self) -> list[Loaded | Unloaded]:
        return self.models._events

    def unloads(self) -> list[tuple[str, Reason]]:
        return [(event.model, event.reason) for event in self.events if isinstance(event, Unloaded)]


@pytest.fixture
def house() -> Iterator[House]:
    yield House(100, {"a": 40, "b": 40, "c": 60})


def test_nobody_waits_for_a_load(house: House):
    house.go.clear()
    assert not house.models.loading
    assert house.models.get("a") is None
    assert house.models.get("a") is None
    assert house.models.get("b") is None  # one load at a time
    assert house.models.loading
    house.go.set()
    assert house.loaded.wait(LIMIT)
    assert house.models.get("a").name == "a"
    assert not house.models.loading


@pytest.mark.parametrize(
    ("raised", "expected", "text"),
    [
        (WeightsUnavailable("no network"), WeightsUnavailable, "no network"),
        (OSError("broken file"), ModelLoadFailed, "broken file"),
        (MemoryError(), ModelLoadFailed, "memory does not suffice"),
    ],
)
def test_a_failed_load_is_told_once_to_who_wants_it_and_tried_again(
    house: House, raised: Exception, expected: type[Exception], text: str
):
    house.errors["a"] = [raised]
    assert house.models.get("a") is None
    assert house.loaded.wait(LIMIT)
    house.want("b")  # no failure of its own
    with pytest.raises(expected, match=text):
        house.models.get("a")
    house.want("a")
    assert house.unloads() == [("a", Reason.FAILED)]


def test_a_failure_nobody_waited_for_is_forgotten(house: House):
    house.errors["a"] = [OSError("broken file")]
    assert house.models.get("a") is None
    assert house.loaded.wait(LIMIT)
    house.models.forgive("a")
    house.want("a")


def test_what_fits_together_stays_together_and_the_least_recently_used_goes_first(house: House):
    house.want("a")
    house.want("b")
    assert house.models.resident == ("a", "b")
    house.want("a")
    assert house.models.fitting == ()
    house.want("c")
    assert house.models.resident == ("a", "c")
    assert house.evicted == ["b"]
    assert house.memory.taken == 100
    assert house.unloads() == [("b", Reason.SWAP)]
    house.models.close()
    assert house.memory.taken == 0
    assert house.models.fitting == ("a", "b", "c")


def test_a_model_larger_than_the_budget_is_loaded_alone(caplog: pytest.LogCaptureFixture):
    house = House(100, {"a": 40, "huge": 500})
    house.want("a")
    house.want("huge")
    assert house.models.resident == ("huge",)
    assert "more than the budget" in caplog.text
    house.want("a")
    assert house.models.resident == ("a",)


def test_a_model_of_unknown_size_is_loaded_alone_and_known_from_then_on():
    house = House(100, {"a": 40, "b": 40}, guessed=False)
    house.want("a")
    assert house.models.fitting == ()
    house.want("b")
    assert house.models.resident == ("b",)
    assert house.models.fitting == ("a",)
    house.want("a")
    assert house.models.resident == ("b", "a")


def test_a_model_of_which_there_is_nothing_costs_others_their_place_once():
    house = House(100, {"a": 40, "b": 80}, guessed=False)
    house.errors["b"] = [WeightsUnavailable("nothing there")] * 2
    for _ in range(2):
        house.want("a")
        with pytest.raises(WeightsUnavailable):
            house.want("b")
    assert house.evicted == ["a"]
    house.want("a")
    house.want("b")  # its weights have come, and it is larger than nothing
    assert house.models.resident == ("b",)


def test_a_model_that_is_larger_than_was_thought_makes_others_go(house: House):
    house.want("a")
    house.models.register(ModelSource("wide", lambda: Model("wide", house.memory, 90), size=10))
    house.want("wide")
    assert house.models.resident == ("wide",)
    assert house.memory.taken == 90


def test_memory_that_does_not_suffice_is_looked_for_among_the_others(house: House):
    house.want("a")
    house.errors["b"] = [MemoryError()]
    house.want("b")
    assert house.models.resident == ("b",)
    assert house.unloads() == [("a", Reason.SWAP)]
    house.want("a")
    house.errors["b"] = [MemoryError(), MemoryError()]
    house.models.close()
    house.want("a")
    with pytest.raises(ModelLoadFailed, match="memory"):
        house.want("b")
    house.want("a")  # others go on


def test_only_an_idle_model_is_unloaded():
    house = House(100, {"a": 40, "b": 40}, idle_seconds=1e-9)
    house.want("a")
    house.want("b")
    house.models.unload_idle({"b"})
    assert house.models.resident == ("b",)
    assert house.unloads() == [("a", Reason.IDLE)]
    house.models.unload_idle()
    assert house.models.resident == ()


def test_a_model_never_idles_away_unless_that_is_asked_for(house: House):
    house.want("a")
    house.models.unload_idle()
    assert house.models.resident == ("a",)


def test_sizes_are_measured_and_told(house: House):
    house.want("a")
    loads, unloads = house.models.events()
    assert [(load.model, load.bytes) for load in loads] == [("a", 40)]
    assert unloads == []
    assert house.models.events() == ([], [])


def test_files_tell_a_models_size_and_are_read_ahead_once_a_swap(tmp_path: Path):
    asked: list[str] = []

    def files() -> list[Path]:
        asked.append(threading.current_thread().name)
        return [tmp_path / "weights", tmp_path / "none"]

    (tmp_path / "weights").write_bytes(bytes(60))
    house = House(100, {"a": 50})
    house.models.register(ModelSource("b", lambda: Model("b", house.memory, 60), files))
    assert house.models.fitting == ("a", "b")
    house.want("a")
    assert house.models.fitting == ()
    asked.clear()
    for _ in range(3):
        house.models.prefetch("b")
    for thread in threading.enumerate():
        if thread.name == "read-ahead":
            thread.join(LIMIT)
    assert asked == ["read-ahead"]


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.dictionaries(st.sampled_from("abcd"), st.integers(0, 120), min_size=1),
    budget=st.integers(0, 200),
    guessed=st.booleans(),
    wanted=st.lists(st.sampled_from("abcd"), max_size=12),
)
def test_the_budget_holds_but_for_one_model_alone(sizes: dict[str, int], budget: int, guessed: bool, wanted: list[str]):
    house = House(budget, sizes, guessed=guessed)
    for name in wanted:
        if name in sizes:
            house.want(name)
            assert house.models.resident[-1] == name
            assert house.memory.taken == sum(sizes[each] for each in house.models.resident)
            assert house.memory.taken <= budget or house.models.resident == (name,)
    house.models.close()
    assert house.memory.taken == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
            True,
        ),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_out_of_memory(error: Exception, expected: bool):
    assert out_of_memory(error) is expected
