import threading

import pytest

from processor.model_manager import ModelManager, out_of_memory
from schemas.errors import ModelLoadFailed, WeightsUnavailable

LIMIT = 5


class Loader:
    """Loads when it is let, as often as it is asked."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.count = 0
        self.error: Exception | None = None

    def __call__(self) -> str:
        assert self.go.wait(LIMIT)
        self.count += 1
        if self.error is not None:
            raise self.error
        return f"model {self.count}"


@pytest.fixture
def loader():
    return Loader()


@pytest.fixture
def loaded():
    return threading.Event()


@pytest.fixture
def models(loader: Loader, loaded: threading.Event):
    return ModelManager({"a": loader, "b": loader}, loaded.set)


def await_load(models: ModelManager[str], loader: Loader, loaded: threading.Event, name: str = "a") -> None:
    loader.go.set()
    assert models.get(name) is None
    assert loaded.wait(LIMIT)
    loaded.clear()


def test_nobody_waits_for_a_load(models: ModelManager[str], loader: Loader, loaded: threading.Event):
    assert not models.loading
    assert models.get("a") is None
    assert models.get("a") is None
    assert models.loading
    loader.go.set()
    assert loaded.wait(LIMIT)
    assert models.get("a") == "model 1"
    assert not models.loading


@pytest.mark.parametrize(
    ("raised", "expected", "text"),
    [
        (WeightsUnavailable("no network"), WeightsUnavailable, "no network"),
        (OSError("broken file"), ModelLoadFailed, "broken file"),
        (MemoryError(), ModelLoadFailed, "memory does not suffice"),
    ],
)
def test_a_failed_load_is_told_once_and_tried_again(
    models: ModelManager[str],
    loader: Loader,
    loaded: threading.Event,
    raised: Exception,
    expected: type[Exception],
    text: str,
):
    loader.error = raised
    await_load(models, loader, loaded)
    with pytest.raises(expected, match=text):
        models.get("a")
    loader.error = None
    await_load(models, loader, loaded)
    assert models.get("a") == "model 2"


def test_another_model_takes_the_place_of_the_first(models: ModelManager[str], loader: Loader, loaded: threading.Event):
    await_load(models, loader, loaded, "a")
    assert models.get("a") == "model 1"
    await_load(models, loader, loaded, "b")
    assert models.get("b") == "model 2"
    await_load(models, loader, loaded, "a")
    assert models.get("a") == "model 3"


def test_unloading(models: ModelManager[str], loader: Loader, loaded: threading.Event):
    await_load(models, loader, loaded)
    assert models.get("a") == "model 1"
    models.unload()
    await_load(models, loader, loaded)
    assert models.get("a") == "model 2"


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
