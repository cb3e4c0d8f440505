"""Diarization by continuous batching: each step is one forward pass, filled with windows of any open jobs."""

import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from processor.audio import Waveform
from processor.engines.aside import Aside
from processor.engines.base import Cancelled, EngineContext, Finished, JobTask, Outcome, Tell, Urgency
from processor.engines.decoding import Decoders
from processor.engines.diarize.clustering import Turns, cluster
from processor.engines.diarize.job import OpenJob, Stage
from processor.engines.diarize.model import DiarizationModel
from processor.engines.diarize.pieces import Piece
from processor.engines.diarize.track import SEGMENTATION, Kind, Slot
from processor.engines.listening import ListeningEngine
from processor.model_manager import out_of_memory
from schemas.errors import TurnstreamError

MODEL = "diarize"


class DiarizeEngine(ListeningEngine[OpenJob, Waveform]):
    """The networks run in the step, one pass at a time; loading, decoding and clustering run aside, in threads.

    Passes have fixed shapes, so the turns of a job are the same whoever shares its passes, and wherever it was parked.
    """

    def __init__(self, context: EngineContext) -> None:
        """The model is that which `context.models` knows by the name of MODEL."""
        super().__init__(OpenJob, Decoders(self._decode, context.changed, Waveform.close))
        self._recordings = context.recordings
        self._models = context.models
        self._clusterers: Aside[Turns] = Aside("cluster", context.changed)
        self._parked_at: float | None = None

    # The port

    def settle(self) -> list[Outcome]:
        self._settle_decoding()
        self._settle_clustering()
        self._tell_progress()
        return self._told()

    def step(self) -> list[Outcome]:
        model = self._model()
        if model is not None:
            self._run_pass(model)
            self._start_clustering(model)
        return self._told()

    def park(self) -> None:
        self._parked_at = time.monotonic()  # that is all: jobs hold nothing of the networks

    def close(self) -> None:
        super().close()
        self._clusterers.close()

    @property
    def urgency(self) -> Urgency | None:
        return min((job.urgency for job in self._jobs.values() if job.wants_pass), default=None)

    # What goes on aside

    def _decode(self, task: JobTask, cancelled: Cancelled, tell: Tell) -> Waveform:
        return self._recordings.waveform(task.job, cancelled, tell)

    def _model(self) -> DiarizationModel | None:
        """The model, with all jobs that waited for it begun or resumed; None while it is not there."""
        try:
            model: DiarizationModel | None = self._models.get(MODEL)
        except TurnstreamError as error:
            self._fail(list(self._jobs.values()), error)
            return None
        if model is None:
            return None
        parked, self._parked_at = self._parked_at, None
        for job in self._jobs.values():
            if parked is not None:
                job.resume(parked)
            if job.stage is Stage.LOAD:
                job.begin(model)
            job.prepare(model)
        return model

    def _start_clustering(self, model: DiarizationModel) -> None:
        for job in self._jobs.values():
            if job.through_networks:
                work = partial(self._cluster, job, model.clustering)  # which has no networks: they may go meanwhile
                job.clustered_by(self._clusterers.submit(job.urgency, work))

    @staticmethod
    def _cluster(job: OpenJob, clustering: Any) -> Turns:
        with _Timer() as timer:
            turns = cluster(clustering, job.tracks[0].analysis, job.params)
        job.spent[Stage.CLUSTERING] = timer.seconds
        return turns

    def _settle_clustering(self) -> None:
        for id, job in list(self._jobs.items()):
            if job.clustering is not None and job.clustering.done():
                try:
                    self._outcomes.append(Finished(id, job.result(job.clustering.result())))
                    self.cancel(id)
                except Exception as error:
                    self._fail([job], error)

    # The networks

    def _run_pass(self, model: DiarizationModel) -> None:
        """A pass of the kind that the most urgent job wants; others' pieces take the room it leaves."""
        jobs = self._by_urgency()
        kind: Kind | None = next((job.wants for job in jobs if job.wants is not None), None)
        if kind is not None:
            self._pass(kind, jobs, model)

    def _pass(self, kind: Kind, jobs: Iterable[OpenJob], model: DiarizationModel) -> None:
        """If it fails, each job that shared it gets a pass of its own, so that only the one at fault fails."""
        room = model.segmenter.room if kind == SEGMENTATION else model.embedders[kind].room
        sharing: list[OpenJob] = []
        slots: list[Slot] = []
        for job in jobs:
            if some := job.slots(kind, room - len(slots)):
                sharing.append(job)
                slots += some
        try:
            with _Timer() as timer:
                values = _forward(kind, [slot.piece for slot in slots], model)
        except Exception as error:
            if len(sharing) == 1 or out_of_memory(error):
                self._fail(sharing, error)
            else:
                for job in sharing:
                    self._pass(kind, [job], model)
            return
        for slot, value in zip(slots, values, strict=True):
            slot.track.take(kind, slot.piece.index, value)
        for job in sharing:
            job.passed(kind, timer.seconds)

    # The jobs

    def _by_urgency(self) -> list[OpenJob]:
        return sorted(self._jobs.values(), key=lambda job: job.urgency)


def _forward(kind: Kind, pieces: Sequence[Piece], model: DiarizationModel) -> Iterable[Any]:
    if kind == SEGMENTATION:
        return zip(*model.segmenter([piece.samples for piece in pieces]), strict=True)
    return model.embedders[kind](pieces)


class _Timer:
    seconds = 0.0

    def __enter__(self) -> "_Timer":
        self._started = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._started
