"""Diarization by continuous batching: each step is one forward pass, filled with pieces of any open jobs."""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from processor.engines.aside import Aside
from processor.engines.base import Cancelled, EngineContext, Finished, JobTask, Outcome, Tell, Urgency
from processor.engines.decoding import Decoders
from processor.engines.diarize.clustering import Clustering, Survey, Turns, cluster, survey
from processor.engines.diarize.job import Found, OpenJob, Stage
from processor.engines.diarize.kept import Kept, Refused, fingerprint
from processor.engines.diarize.model import DiarizationModel
from processor.engines.diarize.passes import Passes
from processor.engines.diarize.pieces import Piece
from processor.engines.diarize.track import SEGMENTATION, Kind, Slot
from processor.engines.listening import ListeningEngine
from processor.model_manager import out_of_memory
from schemas.errors import JobCancelled, TurnstreamError
from schemas.jobs import LIVE_RUN, Channels, Mode
from turnstream.weights import Weights

log = logging.getLogger(__name__)

MODEL = "diarize"


@dataclass(frozen=True, slots=True)
class _Known:
    """What stays of a model when its networks are gone."""

    weights: Weights
    device: str
    tf32: bool
    clustering: Clustering
    window: tuple[int, int, int]
    """What its networks say of one: frames, speakers, dimension."""

    @property
    def described(self) -> dict[str, str]:
        weights = self.weights
        source = str(weights.source)
        return {"name": weights.name, "source": source, "device": self.device, "revision": weights.revision}

    def fingerprint(self, mode: Mode, channels: Channels) -> str:
        return fingerprint(self.weights.revision, self.device, mode, channels, tf32=self.tf32)


class DiarizeEngine(ListeningEngine[OpenJob, Found]):
    """The networks run in the step, one pass at a time; loading, decoding and clustering run aside, in threads.

    Passes have fixed shapes, so the turns of a job are the same whoever shares its passes, and wherever it was parked.
    """

    def __init__(self, context: EngineContext) -> None:
        """The model is that which `context.models` knows by the name of MODEL."""
        mode = context.settings.diarization_mode
        super().__init__(lambda task: OpenJob(task, mode), Decoders(self._decode, context.changed, _close))
        self._recordings, self._account = context.recordings, context.account
        self._keeps, self._tf32 = context.settings.keep_analysis, context.settings.tf32
        self._models = context.models
        self._known: _Known | None = None
        """Of the model that was loaded last."""
        self._clusterers: Aside[list[Turns] | list[Survey]] = Aside("cluster", context.changed)
        self._parked_at: float | None = None

    # The port

    def settle(self) -> list[Outcome]:
        self._settle_decoding()
        self._settle_clustering()
        for id, job in self._jobs.items():
            job.decoded_share = self._decoders.share(id)
        self._tell_progress()
        return self._told()

    def step(self) -> list[Outcome]:
        model = self._model()
        if model is not None:
            self._run_pass(model)
            for job in self._jobs.values():
                job.prepare(model)
        return self._told()

    def park(self) -> None:
        self._parked_at = time.monotonic()  # that is all: jobs hold nothing of the networks

    def close(self) -> None:
        super().close()
        self._clusterers.close()

    @property
    def urgency(self) -> Urgency | None:
        return min((job.urgency for job in self._jobs.values() if job.wants_pass), default=None)

    # Recordings, and what is kept of them: in threads

    def _decode(self, task: JobTask, cancelled: Cancelled, tell: Tell) -> Found:
        job = self._jobs.get(task.id)
        if job is None:
            raise JobCancelled
        if self._keeps:
            if self._known is not None:
                if (kept := self._kept(job, self._known)) is not None:
                    return kept
            elif task.run != LIVE_RUN:
                return None
        if job.apart:
            return self._recordings.channels(task.job, cancelled, tell)
        return [self._recordings.waveform(task.job, cancelled, tell)]

    def _kept(self, job: OpenJob, known: _Known) -> Kept | None:
        mark = known.fingerprint(job.wanted, job.params.channels)
        data = self._recordings.analysis(job.task.job, mark)
        try:
            return Kept.unpacked(data, _origin(job, mark), known.window) if data is not None else None
        except Refused as error:
            log.warning("what was kept of %s is of no use: %s", job.task.job.id, error)
            return None

    def _keep(self, job: OpenJob, kept: Kept, known: _Known) -> None:
        """Before the clustering: a long one may be interrupted."""
        try:
            mark = known.fingerprint(job.wanted, job.params.channels)
            self._recordings.keep_analysis(job.task.job, mark, kept.packed(_origin(job, mark)))
        except Exception as error:  # the job has all it needs
            log.warning("what the networks said of %s is not kept: %r", job.task.job.id, error)

    # Loading

    def _model(self) -> DiarizationModel | None:
        """The model, with all jobs that waited for it begun or resumed; None while it is not there."""
        try:
            model: DiarizationModel | None = self._models.get(MODEL)
        except TurnstreamError as error:
            self._fail([job for job in self._jobs.values() if job.wants_pass], error)  # others may never want it
            return None
        if model is None:
            return None
        window = model.blank(0).shape[1:]
        self._known = _Known(model.weights, model.device, self._tf32, model.clustering, window)
        parked, self._parked_at = self._parked_at, None
        for job in self._jobs.values():
            if parked is not None:
                job.resume(parked)
            if job.stage is Stage.LOAD and not job.begin(model):
                self._decoders.add(job.task, job.urgency)
            job.prepare(model)
        return model

    # Clustering

    def _start_clustering(self, job: OpenJob) -> None:
        """With what has no networks: they may go meanwhile."""
        assert self._known is not None  # noqa: S101 - it said what is clustered
        job.clustering = self._clusterers.submit(job.urgency, partial(self._cluster, job, self._known))

    def _cluster(self, job: OpenJob, known: _Known) -> list[Turns] | list[Survey]:
        kept = job.kept  # looked up only now: a job that is cancelled while it waits lets go of it
        if kept is None:
            raise JobCancelled
        if self._keeps and job.fresh and job.final and not job.cancelled.is_set():
            self._keep(job, kept, known)
        clustering, cancelled = known.clustering, job.cancelled.is_set
        started = time.monotonic()
        try:
            if not job.final:
                return [survey(clustering, analysis, cancelled) for analysis in kept.analyses]
            return [cluster(clustering, analysis, job.params, cancelled) for analysis in kept.analyses]
        finally:
            job.spent[Stage.CLUSTERING] += time.monotonic() - started

    def _settle_clustering(self) -> None:
        for job in list(self._jobs.values()):
            if job.stage is not Stage.CLUSTERING:
                continue
            if job.clustering is None:
                self._start_clustering(job)
            elif job.clustering.done():
                try:
                    self._end(job, job.clustering.result())
                except Exception as error:
                    self._fail([job], error)

    def _end(self, job: OpenJob, tracks: list[Turns] | list[Survey]) -> None:
        assert self._known is not None  # noqa: S101 - it clustered
        if not job.final:
            job.surveyed([each for each in tracks if isinstance(each, Survey)])
            return
        turns = [each for each in tracks if isinstance(each, Turns)]
        self._outcomes.append(Finished(job.task.id, job.result(turns, self._known.described)))
        self.cancel(job.task.id)

    # The networks

    def _run_pass(self, model: DiarizationModel) -> None:
        """A pass of the kind that the most urgent job wants; others' pieces take the room it leaves."""
        jobs = self._by_urgency()
        kind: Kind | None = next((job.wants for job in jobs if job.wants is not None), None)
        if kind is not None:
            self._pass(kind, jobs, model)

    def _pass(self, kind: Kind, jobs: Iterable[OpenJob], model: DiarizationModel) -> None:
        passes = _passes(kind, model)
        sharing, slots = self._filled(kind, jobs, passes.room)
        if not slots:
            return
        started = time.monotonic()
        try:
            values = _forward(kind, [slot.piece for slot in slots], model)
        except Exception as error:
            instead = self._instead(kind, sharing, passes, error)
        else:
            instead = []
            self._account.passed(MODEL, len(slots), passes.room)
            for slot, value in zip(slots, values, strict=True):
                slot.track.take(kind, slot.piece.index, value)
            for job in sharing:
                job.passed(kind, time.monotonic() - started)
        for some in instead:  # only now is the error gone, with all that it held of the device's memory
            self._pass(kind, some, model)

    def _instead(
        self, kind: Kind, sharing: list[OpenJob], passes: Passes, error: Exception
    ) -> Sequence[Sequence[OpenJob]]:
        """Who makes further passes in the place of one that failed. Where memory did not suffice, the same jobs make one that
        is smaller, as all are from then on; else each by itself, so that only the one at fault fails."""
        if out_of_memory(error) and passes.halve():
            log.warning("the memory does not suffice for a pass of %s: it has %d pieces from now on", kind, passes.room)
            return [sharing]
        if len(sharing) > 1:
            return [[job] for job in sharing]
        self._fail(sharing, error)
        return []

    def _filled(self, kind: Kind, jobs: Iterable[OpenJob], room: int) -> tuple[list[OpenJob], list[Slot]]:
        """A pass: who shares it, and what is in it. A job whose recording cannot be read fails by itself."""
        sharing: list[OpenJob] = []
        slots: list[Slot] = []
        for job in jobs:
            try:
                some = job.slots(kind, room - len(slots))
            except Exception as error:
                self._fail([job], error)
                continue
            if some:
                sharing.append(job)
                slots += some
        return sharing, slots

    # The jobs

    def _by_urgency(self) -> list[OpenJob]:
        return sorted(self._jobs.values(), key=lambda job: job.urgency)


def _passes(kind: Kind, model: DiarizationModel) -> Passes:
    return model.segmenter if kind == SEGMENTATION else model.embedders[kind]


def _forward(kind: Kind, pieces: Sequence[Piece], model: DiarizationModel) -> Iterable[Any]:
    if kind == SEGMENTATION:
        return zip(*model.segmenter([piece.samples for piece in pieces]), strict=True)
    return model.embedders[kind](pieces)


def _origin(job: OpenJob, mark: str) -> str:
    """Of what is kept: without it, what lies at another job's name would be taken for this one's."""
    return f"{job.task.job.id}/{mark}"


def _close(found: Found) -> None:
    if not isinstance(found, Kept):
        for waveform in found or ():
            waveform.close()
