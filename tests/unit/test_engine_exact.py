"""Guarantee 5: the engine's turns are those of stock pyannote.audio, on the same weights and waveform."""

import gc
import os
import subprocess
import sys
import textwrap
import weakref
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from processor.engines.base import JobTask, Outcome
from processor.engines.diarize import device
from processor.engines.diarize.clustering import BOUNDS_MISSED, Turn
from processor.engines.diarize.engine import MODEL, DiarizeEngine
from processor.engines.diarize.job import Stage
from processor.engines.diarize.model import DiarizationModel
from processor.engines.diarize.pieces import Piece
from processor.engines.diarize.windows import Samples
from schemas.jobs import DiarizeParams, Lane, Mode
from schemas.results import DiarizationResult, Segment
from tests.support.engine import Shelf, all_ended, context_of, ends, result_of, run, task
from tests.support.recordings import SAMPLE_RATE, sample_waveform
from turnstream import allocator, weights
from turnstream.settings import Settings
from turnstream.weights import Weights

# Stock runs in this process, and warns of what short clips do to its means.
pytestmark = [pytest.mark.model, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module", autouse=True)
def as_in_the_engine_process() -> Iterator[None]:
    allocator.keep_big_blocks()
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, 2))
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def found() -> Weights:
    settings = Settings()
    weights.quiet(settings)
    return weights.resolve(settings)


@pytest.fixture(scope="module")
def model(found: Weights) -> DiarizationModel:
    from processor.engines.diarize import pipeline

    return DiarizationModel(pipeline.build(found.path), found)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def engine(model: DiarizationModel, shelf: Shelf) -> Iterator[DiarizeEngine]:
    engine = DiarizeEngine(context_of(shelf, {MODEL: lambda: model}))
    yield engine
    engine.close()


class Stock:
    """pyannote.audio as it ships, one window at a time; what its networks said of a recording is remembered."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        pipeline.segmentation_batch_size = pipeline.embedding_batch_size = 1
        for name in ("get_segmentations", "get_embeddings"):
            setattr(pipeline, name, _remembered(getattr(pipeline, name)))

    def __call__(self, samples: Samples, **params: int) -> Any:
        uri = str(hash(samples.tobytes()))
        waveform = torch.from_numpy(samples)[None]
        return self._pipeline({"waveform": waveform, "sample_rate": SAMPLE_RATE, "uri": uri}, **params)

    def turns(self, samples: Samples, **params: int) -> tuple[list[Turn], list[Turn]]:
        output = self(samples, **params)
        return _turns(output.speaker_diarization), _turns(output.exclusive_speaker_diarization)


def _remembered(method: Callable[..., Any]) -> Callable[..., Any]:
    said: dict[str, Any] = {}

    def call(file: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if file["uri"] not in said:
            said[file["uri"]] = method(file, *args, **kwargs)
        return said[file["uri"]]

    return call


def _turns(annotation: Any) -> list[Turn]:
    return [Turn(label, turn.start, turn.end) for turn, _, label in annotation.itertracks(yield_label=True)]


@pytest.fixture(scope="module")
def stock(found: Weights) -> Stock:
    from pyannote.audio import Pipeline

    return Stock(Pipeline.from_pretrained(found.path))


@cache
def speech() -> Samples:
    return sample_waveform()


def cut(start: float, seconds: float) -> Samples:
    return speech()[round(start * SAMPLE_RATE) : round((start + seconds) * SAMPLE_RATE)].copy()


def mixed() -> Samples:
    """Two conversations at once, over noise: three and more voices, much overlap."""
    noise = np.random.default_rng(1).normal(0, 0.003, 14 * SAMPLE_RATE)
    faster = cut(14, 16)[: 14 * SAMPLE_RATE]
    return (0.7 * cut(7, 14) + 0.5 * np.roll(faster, 3 * SAMPLE_RATE) + noise).astype(np.float32)


# The whole sample goes through the running stack, and is compared with stock there: tests/e2e/test_main_job.py.
RECORDINGS: dict[str, Callable[[], Samples]] = {
    "a mix": mixed,
    "one window to the sample": lambda: cut(10, 10),
    "a sample more than a window": lambda: np.append(cut(10, 10), np.float32(0.01)),
    "a window and a half": lambda: cut(12, 15.3),
    "two seconds": lambda: cut(12, 2),
    "a tenth of a second": lambda: cut(12, 0.1),
    "a single sample": lambda: cut(12, 1 / SAMPLE_RATE),
    "silence": lambda: np.zeros(12 * SAMPLE_RATE, np.float32),
    "noise": lambda: np.random.default_rng(2).normal(0, 0.1, 12 * SAMPLE_RATE).astype(np.float32),
    "a constant": lambda: np.full(11 * SAMPLE_RATE, 0.5, np.float32),
    "clipped speech": lambda: np.clip(20 * cut(7, 11), -1, 1),
}


def assert_same(ours: list[Segment] | list[Turn], theirs: list[Turn]) -> None:
    assert [turn.speaker for turn in ours] == [turn.speaker for turn in theirs]
    np.testing.assert_allclose(
        [(turn.start, turn.end) for turn in ours], [(turn.start, turn.end) for turn in theirs], rtol=0, atol=1e-6
    )


def computed(engine: DiarizeEngine, *jobs: JobTask) -> list[DiarizationResult]:
    """The results of jobs that are open together, in their order."""
    for job in jobs:
        engine.open(job)
    by_id = {end.id: result_of(end) for end in ends(run(engine, all_ended(engine)))}
    return [by_id[job.id] for job in jobs]


@pytest.mark.parametrize("name", RECORDINGS)
def test_turns_are_those_of_stock(engine: DiarizeEngine, shelf: Shelf, stock: Stock, name: str):
    samples = RECORDINGS[name]()
    [result] = computed(engine, shelf.put(task(), samples))
    turns, exclusive = stock.turns(samples)
    assert_same(result.segments, turns)
    assert_same(result.exclusive_segments, exclusive)
    assert result.num_speakers == len(result.speakers) == len({turn.speaker for turn in turns})
    if name in {"silence", "a single sample"}:
        assert result.num_speakers == 0


@pytest.mark.parametrize(
    "params",
    [
        {"num_speakers": 1},
        {"num_speakers": 3},
        {"min_speakers": 3},
        {"max_speakers": 1},
        {"min_speakers": 2, "max_speakers": 2},
    ],
    ids=str,
)
def test_bounds_on_speakers_are_stocks(engine: DiarizeEngine, shelf: Shelf, stock: Stock, params: dict[str, int]):
    [result] = computed(engine, shelf.put(task(**params), mixed()))
    turns, exclusive = stock.turns(mixed(), **params)
    assert_same(result.segments, turns)
    assert_same(result.exclusive_segments, exclusive)
    assert result.warnings == []


def test_more_speakers_than_there_are_voices(engine: DiarizeEngine, shelf: Shelf, stock: Stock):
    """Stock raises here; whoever asks for too much gets what there is, and is told."""
    with pytest.raises(ValueError, match="n_clusters=40"):
        stock(mixed(), num_speakers=40)
    [exact, at_least] = computed(
        engine, shelf.put(task(num_speakers=40), mixed()), shelf.put(task(min_speakers=40), mixed())
    )
    assert 2 <= exact.num_speakers < 40
    assert exact.segments == at_least.segments
    assert exact.warnings == at_least.warnings == [BOUNDS_MISSED]


def test_a_result_does_not_depend_on_who_shared_its_passes(
    engine: DiarizeEngine, shelf: Shelf, model: DiarizationModel
):
    recordings = [cut(7, 13), cut(3, 2), cut(16, 11.5), mixed()]
    alone = [model.diarize(samples) for samples in recordings]
    jobs = [shelf.put(task(lane), samples) for samples, lane in zip(recordings, [*Lane, *Lane], strict=True)]
    for together, by_itself in zip(computed(engine, *jobs), alone, strict=True):
        assert [(turn.speaker, turn.start, turn.end) for turn in together.segments] == [
            (turn.speaker, turn.start, turn.end) for turn in by_itself.turns
        ]


def test_networks_answer_to_the_last_bit_whatever_shares_the_pass(model: DiarizationModel):
    windows = model.windows(speech())
    others = model.windows(mixed())
    (alone,), _ = model.segmenter([windows[9]])
    shared, _ = model.segmenter([*(others[i] for i in range(3)), windows[9], windows[3]])
    np.testing.assert_array_equal(alone, shared[3])
    embedder = model.embedders[Mode.EXACT]
    masks = model._masks(alone)
    vector = embedder([Piece(9, windows[9], masks)])[0]
    second = embedder([Piece(1, others[1], masks[::-1].copy()), Piece(9, windows[9], masks)])[1]
    np.testing.assert_array_equal(vector, second)


def test_a_job_parked_half_way_has_the_same_turns_and_the_networks_are_gone_meanwhile(
    found: Weights, model: DiarizationModel, shelf: Shelf
):
    from processor.engines.diarize import pipeline

    networks: list[weakref.ref[Any]] = []

    def load() -> DiarizationModel:
        loaded = DiarizationModel(pipeline.build(found.path), found)
        networks.extend(map(weakref.ref, (loaded.segmenter._network, loaded.embedders[Mode.EXACT]._network)))
        return loaded

    context = context_of(shelf, {MODEL: load})
    engine = DiarizeEngine(context)
    recordings = [mixed(), cut(3, 2)]
    jobs = [shelf.put(task(), samples) for samples in recordings]
    for job in jobs:
        engine.open(job)
    seen: list[Outcome] = []
    while any(job.stage is Stage.DECODE for job in engine._jobs.values()):
        seen += engine.settle()
    for _ in range(3):
        while not context.models.resident:  # and with it one pass was made
            seen += engine.step()
        engine.park()
        context.models.close()
        gc.collect()
        assert [network() for network in networks] == [None] * len(networks)
    seen += run(engine, all_ended(engine))
    assert len(networks) == 2 * 4  # one pass of segmentation, three of embedding
    results = {end.id: result_of(end) for end in ends(seen)}
    for job, samples in zip(jobs, recordings, strict=True):
        assert_same(results[job.id].segments, model.diarize(samples).turns)
    engine.close()


def test_a_pipeline_of_the_shape_of_3_1(found: Weights, tmp_path: Path):
    """Agglomerative clustering and no PLDA, on the open weights."""
    from pyannote.audio import Pipeline

    from processor.engines.diarize import pipeline

    document = yaml.safe_load((found.path / "config.yaml").read_text())
    plda = document["pipeline"]["params"].pop("plda")
    document["pipeline"]["params"]["clustering"] = "AgglomerativeClustering"
    document["params"]["clustering"] = {"method": "centroid", "min_cluster_size": 12, "threshold": 0.7045654963945799}
    for part in ("segmentation", "embedding", "plda"):
        (tmp_path / part).symlink_to(found.path / part)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(document))
    ours = DiarizationModel(pipeline.build(tmp_path), found).diarize(mixed())

    document["pipeline"]["params"]["plda"] = plda  # stock wants one all the same
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(document))
    turns, exclusive = Stock(Pipeline.from_pretrained(tmp_path)).turns(mixed())
    assert_same(ours.turns, turns)
    assert_same(ours.exclusive, exclusive)


def test_a_device_with_other_networks_is_not_used(model: DiarizationModel, monkeypatch: pytest.MonkeyPatch):
    """The trial on the real model: a device whose arithmetic is broken, so that its networks hear everybody everywhere."""

    class Elsewhere:
        device = "cpu"

        def to(self, device: str) -> None:
            self.device = device

        def diarize(self, samples: Samples) -> Any:
            if self.device == "broken":
                samples = -(np.abs(samples) ** 0.2)
            return model.diarize(samples, DiarizeParams())

    settled = Elsewhere()
    device.settle(settled, "broken", cut(7, 12))
    assert settled.device == "cpu"
    device.settle(settled, "sound", cut(7, 12))
    assert settled.device == "sound"


OFFLINE = """
    import asyncio, io, pathlib, sys
    from processor.engine_process import EngineProcess
    from processor.engines import child
    from processor.engines.base import EngineLost, Failed, Finished, JobTask
    from tests.support.offline import refuse_network
    from tests.support.recordings import sample_wav
    from tests.support.worker import new_job
    from turnstream.object_store import connect
    from turnstream.records import Records
    from turnstream.settings import Settings

    # Above the guard of __main__: the engine process imports this file, too, before anything else.
    refuse_network()

    async def main():
        settings = Settings(data_dir=pathlib.Path(sys.argv[1]))
        data = sample_wav().read_bytes()
        job = new_job()
        job = job.model_copy(update={"audio": job.audio.model_copy(update={"size": len(data)})})
        Records(connect(settings)).create(job, io.BytesIO(data))
        engine = EngineProcess(settings)
        await engine.start()
        await engine.open(JobTask(job, "live", "diarize", {}))
        async for outcome in engine.outcomes():
            if isinstance(outcome, Finished | Failed | EngineLost):
                break
        assert isinstance(outcome, Finished), outcome
        print(outcome.result["num_speakers"], outcome.result["audio"]["duration"])
        await engine.close()

    if __name__ == "__main__":
        asyncio.run(main())
"""


@pytest.mark.usefixtures("found")
def test_nothing_outside_is_asked(tmp_path: Path):
    """The bundled sample in an engine process of its own, where every connection is noted and refused."""
    script, tried = tmp_path / "offline.py", tmp_path / "tried"
    script.write_text(textwrap.dedent(OFFLINE))
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TRIED": str(tried), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, str(script), str(tmp_path / "data")]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["2", "30.0"]
    assert not tried.exists(), tried.read_text()
