"""The ways to diarize that are compared: stock pyannote and Turnstream's engine, each as its user runs it."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tests.bench import peaks
from tests.bench.corpus.reference import Spoken

NEAR = 1e-4
"""Two classes of a frame whose log-probabilities differ by less are a near-tie."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run over one recording."""

    seconds: float
    turns: list[Spoken]
    resident: float
    """Peak of resident memory, in MiB; growth is counted from `base`."""
    base: float
    """Resident memory in MiB with the model loaded and warm, before the first run."""
    cuda: float = 0.0
    """Peak of the device's memory that torch allocated, in MiB; 0 on a CPU."""
    told: dict[str, Any] = field(default_factory=dict)
    """What the engine says of the run: timings by stage, warnings, the mode that computed it."""

    @property
    def growth(self) -> float:
        return max(0.0, self.resident - self.base)


class Way(Protocol):
    """Made, used and dropped in a process of its own. Nothing but `diarize` is timed."""

    def diarize(self, samples: Any) -> tuple[list[Spoken], dict[str, Any]]: ...


def way(name: str, device: str) -> Way:
    """`stock-N` for batch sizes N and N; `exact` or `fast` for the engine in that mode."""
    kind, _, batch = name.partition("-")
    return Stock(int(batch), device) if kind == "stock" else Ours(name, device)


class Bench:
    """A way, warm, and what is measured of it."""

    def __init__(self, name: str, device: str) -> None:
        from tests.support.recordings import sample_waveform

        self.way = way(name, device)
        # The first pass allocates and, on a GPU, chooses kernels; there the sizes of full batches are wanted, too.
        self.way.diarize(sample_waveform(10 if device == "cpu" else None))
        self._base = peaks.resident()
        self._decoded: tuple[Path | None, Any] = (None, None)

    def run(self, path: Path) -> Run:
        samples = self._samples(path)
        with peaks.Peak() as peak:
            began = time.perf_counter()
            turns, told = self.way.diarize(samples)
            seconds = time.perf_counter() - began
        return Run(round(seconds, 4), turns, peak.resident, self._base + samples.nbytes / peaks.MIB, peak.cuda, told)

    def ties(self, path: Path) -> list[float]:
        assert isinstance(self.way, Stock)
        return self.way.ties(self._samples(path))

    def _samples(self, path: Path) -> Any:
        """Mono at 16 kHz, by Turnstream's decoder for every way: the waveform is the same to the bit."""
        if self._decoded[0] != path:
            self._decoded = (path, decoded(path))
        return self._decoded[1]


def decoded(path: Path) -> Any:
    """Mono at 16 kHz; what is beyond four hours is mapped from a file."""
    from processor.audio import decode

    with path.open("rb") as file, tempfile.TemporaryDirectory() as spool:
        return decode(file, Path(spool), memory_budget=1 << 30, max_seconds=1e9).samples


class Stock:
    """pyannote.audio as its documentation says, on the same weights."""

    def __init__(self, batch: int, device: str) -> None:
        import torch

        from turnstream import weights
        from turnstream.settings import Settings

        settings = Settings()
        weights.quiet(settings)
        from pyannote.audio import Pipeline

        self._pipeline: Any = Pipeline.from_pretrained(str(weights.resolve(settings).path))
        self._pipeline.segmentation_batch_size = batch
        self._pipeline.embedding_batch_size = batch
        self._device = torch.device(device)
        self._pipeline.to(self._device)

    def diarize(self, samples: Any) -> tuple[list[Spoken], dict[str, Any]]:
        import torch

        output = self._pipeline({"waveform": torch.from_numpy(samples)[None], "sample_rate": 16_000})
        found = output.speaker_diarization.itertracks(yield_label=True)
        turns = [Spoken(str(label), round(float(turn.start), 6), round(float(turn.end), 6)) for turn, _, label in found]
        return turns, {}

    def ties(self, samples: Any) -> list[float]:
        """Middles of the frames, in seconds, in which some window is a near-tie."""
        import torch

        inference = self._pipeline._segmentation
        model, size = inference.model, round(inference.duration * 16_000)
        step, middles = round(inference.step * 16_000), set[float]()
        for start in range(0, max(1, len(samples) - size + step), step):
            window = np.zeros(size, np.float32)
            part = samples[start : start + size]
            window[: len(part)] = part
            with torch.inference_mode():
                scores = model(torch.from_numpy(window)[None, None].to(self._device))[0]
            best = scores.topk(2, dim=-1).values
            for frame in torch.nonzero(best[:, 0] - best[:, 1] < NEAR).flatten().tolist():
                middles.add(round(start / 16_000 + model.receptive_field[frame].middle, 6))
        return sorted(middles)


class Ours:
    """The engine as the engine process makes it: a job at a time through the hub, the model loaded."""

    def __init__(self, mode: str, device: str) -> None:
        from turnstream import weights
        from turnstream.settings import Settings

        self._folder = tempfile.TemporaryDirectory()
        settings = Settings(device=device, model_idle_seconds=0, data_dir=Path(self._folder.name))
        weights.quiet(settings)
        from processor.engines.base import EngineContext
        from processor.engines.diarize.start import diarize_engine
        from processor.engines.hub import Hub
        from tests.support.engine import Shelf

        self._mode, shelf = mode, Shelf()
        self._shelf = shelf

        def make(_: str, context: EngineContext) -> Any:
            return diarize_engine(replace(context, recordings=shelf))

        self._hub = Hub(settings, make)

    def diarize(self, samples: Any) -> tuple[list[Spoken], dict[str, Any]]:
        result = self.computed(self.put(samples))
        self.forget()
        turns = [Spoken(segment.speaker, segment.start, segment.end) for segment in result.segments]
        told: Mapping[str, Any] = result.model_dump(include={"timings", "warnings", "model"})
        return turns, {**told["timings"], "warnings": told["warnings"], **_computed_by(told["model"])}

    def put(self, samples: Any, **params: Any) -> Any:
        """A job that has this recording."""
        from tests.support.engine import task

        return self._shelf.put(task(mode=self._mode, **params), samples)

    def computed(self, job: Any) -> Any:
        """Its result; what the networks said is kept until `forget`, and further runs start from it."""
        from tests.support.engine import all_ended, ends, result_of, run

        self._hub.open(job)
        [end] = ends(run(self._hub, all_ended(self._hub)))
        return result_of(end)

    def forget(self) -> None:
        """Held on, recordings would count as memory of those to come."""
        self._shelf.samples.clear()
        self._shelf.kept.clear()


def _computed_by(model: Mapping[str, Any]) -> dict[str, Any]:
    return {"mode": str(model["mode"]), "device": model["device"]}
