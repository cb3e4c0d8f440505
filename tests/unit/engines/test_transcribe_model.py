"""The engine with the real open weights, Whisper's tiny.en, on real speech."""

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from faster_whisper import WhisperModel

from processor.audio import Samples
from processor.engines import memory
from processor.engines.base import EngineContext, Failed, JobTask
from processor.engines.transcribe import device
from processor.engines.transcribe import model as transcribe_model
from processor.engines.transcribe.engine import TranscribeEngine
from processor.engines.transcribe.model import TINY_ENGLISH_MODEL, TranscriptionModel, load
from processor.model_manager import ModelManager, ModelSource
from schemas.errors import InvalidRequest, ModelLoadFailed, WeightsUnavailable
from schemas.jobs import Lane
from schemas.results import TranscriptionResult
from tests.support.engine import Shelf, all_ended, context_of, ends, run
from tests.support.recordings import SAMPLE_RATE, sample_waveform
from tests.support.whisper import make_whisper, transcribe_task, transcription_of
from turnstream.memory import resident
from turnstream.settings import Settings
from turnstream.weights import Weights, whisper

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

SAID = (
    "I didn't know you were there",
    "This is Diane in New Jersey",
    "originally from Chicago",
    "there isn't that much difference",
    "they all call me a Yankee down here",
)


@pytest.fixture(scope="module")
def weights() -> Weights:
    return whisper.resolve(Settings(), progress=print)


@pytest.fixture(scope="module")
def model(weights: Weights) -> TranscriptionModel:
    return load(Settings(device="cpu"))


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def engine(model: TranscriptionModel, shelf: Shelf) -> Iterator[TranscribeEngine]:
    engine = TranscribeEngine(context_of(shelf, {"transcribe": lambda: model}))
    yield engine
    engine.close()


def speech() -> Samples:
    return sample_waveform()


def cut(start: float, seconds: float) -> Samples:
    return speech()[round(start * SAMPLE_RATE) :][: round(seconds * SAMPLE_RATE)]


def transcribed(engine: TranscribeEngine, *tasks: JobTask) -> list[TranscriptionResult]:
    """The results of jobs that are open together, in their order."""
    for each in tasks:
        engine.open(each)
    by_id = {end.id: transcription_of(end) for end in ends(run(engine, all_ended(engine)))}
    return [by_id[each.id] for each in tasks]


def found(result: TranscriptionResult) -> dict[str, object]:
    """All that does not depend on when it was computed."""
    return result.model_dump(exclude={"job_id", "run", "performance", "timings"})


def test_the_sample_says_what_is_said_in_it(engine: TranscribeEngine, shelf: Shelf, weights: Weights):
    [result] = transcribed(engine, shelf.put(transcribe_task(vad=True), speech()))
    for sentence in SAID:
        assert sentence in result.text
    assert "".join(word.word for segment in result.segments for word in segment.words).strip() == result.text
    assert (result.language, result.language_probability) == ("en", 1)
    assert result.warnings == [TINY_ENGLISH_MODEL]
    assert (result.model.name, result.model.source) == (whisper.TINY_ENGLISH, "open-pack")
    assert (result.model.revision, result.model.mode) == (weights.revision, "float32")


def test_words_are_where_they_are_spoken(engine: TranscribeEngine, shelf: Shelf):
    [result] = transcribed(engine, shelf.put(transcribe_task(vad=True), speech()))
    words = [word for segment in result.segments for word in segment.words]
    assert all(word.start <= word.end for word in words)
    assert all(left.end <= right.start for left, right in pairwise(words))
    assert words[0].start >= 6.2
    assert words[-1].end <= 30
    [diane] = [word for word in words if "Diane" in word.word]
    assert abs(diane.start - 13.1) < 0.5  # by ear
    assert all(word.probability > 0 for word in words)


RECORDINGS = {
    "silence": np.zeros(12 * SAMPLE_RATE, np.float32),
    "noise": np.random.default_rng(2).normal(0, 0.1, 12 * SAMPLE_RATE).astype(np.float32),
    "a constant": np.full(11 * SAMPLE_RATE, 0.5, np.float32),
    "a tenth of a second": cut(7, 0.1),
    "a single sample": np.ones(1, np.float32),
}


@pytest.mark.parametrize("name", RECORDINGS)
def test_where_nobody_speaks_nothing_is_made_up(engine: TranscribeEngine, shelf: Shelf, name: str):
    [result] = transcribed(engine, shelf.put(transcribe_task(vad=True), RECORDINGS[name]))
    assert (result.segments, result.text) == ([], "")


def test_noise_that_is_listened_to_all_the_same(engine: TranscribeEngine, shelf: Shelf):
    """Whisper alone writes the same sentence into it, over and over."""
    [result] = transcribed(engine, shelf.put(transcribe_task(vad=False), RECORDINGS["noise"]))
    assert len(result.text) < 100


def test_the_end_of_a_recording_is_not_made_up(engine: TranscribeEngine, shelf: Shelf):
    """Whisper thanks for watching in the silence of a few frames that its first pass leaves over."""
    [result] = transcribed(engine, shelf.put(transcribe_task(vad=True), cut(6.38, 23.62)))
    assert "Thank you" not in result.text


def test_a_result_depends_neither_on_companions_nor_on_parking(
    engine: TranscribeEngine, model: TranscriptionModel, shelf: Shelf
):
    long = np.concatenate([cut(6, 8), np.zeros(5 * SAMPLE_RATE, np.float32), cut(16, 8)])  # heard in two stretches
    short = cut(6, 8)
    alone = [transcribed(engine, shelf.put(transcribe_task(vad=True), samples))[0] for samples in (long, short)]
    batch, urgent = transcribe_task(Lane.BATCH, vad=True), transcribe_task(vad=True)
    together = transcribed(engine, shelf.put(batch, long), shelf.put(urgent, short))
    assert [found(result) for result in together] == [found(result) for result in alone]

    task = shelf.put(transcribe_task(vad=True), long)
    parking = EngineWithRoomForOne(shelf)
    parking.engine.open(task)
    [result] = [transcription_of(end) for end in ends(run(parking.engine, parking.until_ended()))]
    assert parking.loads > 1
    assert found(result) == found(alone[0])
    parking.engine.close()


class EngineWithRoomForOne:
    """Its model is swapped for another one after each stretch."""

    def __init__(self, shelf: Shelf) -> None:
        changed = threading.Event()
        settings = Settings(device="cpu", model_memory_budget=1)
        self.manager = ModelManager(memory.DeviceMemory(settings), on_change=changed.set, on_evict=self._evict)
        self.manager.register(ModelSource("transcribe", lambda: load(settings), size=1))
        self.manager.register(ModelSource("other", object, size=1))
        self.engine = TranscribeEngine(EngineContext(settings, self.manager, shelf, changed))
        self.loads = 0
        self._seen = 0

    def until_ended(self):
        def ended(_: object) -> bool:
            self.loads += len(self.manager.events()[0])
            if (job := next(iter(self.engine._jobs.values()), None)) is None:
                return True
            if job._heard > self._seen:
                self._seen = job._heard
                while self.manager.get("other") is None:
                    pass
            return False

        return ended

    def _evict(self, name: str) -> None:
        if name == "transcribe":
            self.engine.park()


def test_another_language_than_english_is_refused(engine: TranscribeEngine, shelf: Shelf):
    engine.open(shelf.put(transcribe_task(language="de"), cut(7, 2)))
    [failed] = ends(run(engine, all_ended(engine)))
    assert isinstance(failed, Failed)
    assert failed.error.code == InvalidRequest.code


def test_unloading_gives_the_memory_back(weights: Weights):
    memory_of_cpu = memory.DeviceMemory(Settings(device="cpu"))
    samples = cut(7, 5)
    left: list[int] = []
    for _ in range(3):
        model = load(Settings(device="cpu"))
        model.hear(samples, "en")
        loaded = resident(os.getpid())
        del model
        memory_of_cpu.give_back()
        left.append(resident(os.getpid()))
        assert loaded - left[-1] > 100 << 20
    assert left[-1] - left[0] < 64 << 20


def test_files_that_are_no_model_fail_the_load(tmp_path: Path):
    settings = Settings(transcribe_model=str(make_whisper(tmp_path / "mine")), device="cpu")
    with pytest.raises(RuntimeError, match="model"):
        load(settings)
    (tmp_path / "mine" / "model.bin").unlink()
    with pytest.raises(WeightsUnavailable, match=r"model\.bin"):
        load(settings)


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ctranslate2.get_cuda_device_count", lambda: 0)
    with pytest.raises(ModelLoadFailed, match="DEVICE=cuda"):
        load(Settings(device="cuda"))


def test_a_gpu_without_its_libraries_is_not_used(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr("ctranslate2.get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(device, "CUBLAS", ("libnobody-has-it.so.12",))
    assert device.devices(Settings()) == ["cpu"]
    assert "nvidia-cublas-cu12" in caplog.text
    with pytest.raises(ModelLoadFailed, match="libraries"):
        device.devices(Settings(device="cuda"))


def test_a_gpu_that_fails_is_replaced_by_the_cpu(monkeypatch: pytest.MonkeyPatch, weights: Weights):
    real = transcribe_model._network

    def network(weights: Weights, device: str) -> WhisperModel:
        if device == "cuda":
            raise RuntimeError("CUDA driver version is insufficient for CUDA runtime version")
        return real(weights, device)

    monkeypatch.setattr(transcribe_model, "devices", lambda _: ["cuda", "cpu"])
    monkeypatch.setattr(transcribe_model, "_network", network)
    assert load(Settings()).device == "cpu"


OFFLINE = """
    from tests.support.offline import refuse_network

    refuse_network()

    from processor.engines.hub import Hub
    from tests.support.engine import Shelf, all_ended, ends, run
    from tests.support.recordings import sample_waveform
    from tests.support.whisper import transcribe_task, transcription_of
    from turnstream.settings import Settings
    from turnstream.weights import quiet

    settings, shelf = Settings(), Shelf()
    quiet(settings)
    hub = Hub(settings)
    object.__setattr__(hub._context, "recordings", shelf)
    hub.open(shelf.put(transcribe_task(vad=True), sample_waveform()))
    [end] = ends(run(hub, all_ended(hub)))
    print(transcription_of(end).text)
    hub.close()
"""


@pytest.mark.usefixtures("weights")
def test_nothing_outside_is_asked(tmp_path: Path):
    """The sample in a process of its own, where every connection is noted and refused."""
    script, tried = tmp_path / "offline.py", tmp_path / "tried"
    script.write_text(textwrap.dedent(OFFLINE))
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "TRIED": str(tried)}
    ran = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    assert SAID[0] in ran.stdout
    assert not tried.exists(), tried.read_text()
