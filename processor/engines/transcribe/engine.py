"""Transcription a stretch at a time: after each, the most urgent job comes next."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from processor.audio import Samples
from processor.engines.base import Cancelled, EngineContext, Finished, JobTask, Outcome, Tell, Urgency
from processor.engines.decoding import Decoders
from processor.engines.listening import ListeningEngine
from processor.engines.transcribe.job import OpenJob, Recording, Stage
from processor.engines.transcribe.model import TranscriptionModel
from processor.engines.transcribe.passages import Passage
from processor.engines.transcribe.stretches import stretches
from schemas.errors import TurnstreamError
from schemas.jobs import TranscribeParams

MODEL = "transcribe"


@dataclass(frozen=True, slots=True)
class _Pass:
    """A stretch that is being heard."""

    job: OpenJob
    future: "Future[tuple[Passage, float]]"


class TranscribeEngine(ListeningEngine[OpenJob, Recording]):
    """All goes on aside, in threads: decoding, with the search for speech, and one pass of the networks at a time.

    A pass is one stretch of a recording, 30 seconds at most. It cannot be stopped on its way, so it is what a cancel, a
    more urgent job and parking may have to wait for; what it finds depends on nothing else.
    """

    def __init__(self, context: EngineContext) -> None:
        """The model is that which `context.models` knows by the name of MODEL."""
        super().__init__(OpenJob, Decoders(self._decode, context.changed, lambda recording: recording.waveform.close()))
        self._models, self._recordings, self._changed = context.models, context.recordings, context.changed
        self._networks = ThreadPoolExecutor(1, "transcribe")
        self._pass: _Pass | None = None

    # The port

    def settle(self) -> list[Outcome]:
        self._settle_decoding()
        self._settle_pass()
        self._tell_progress()
        return self._told()

    def step(self) -> list[Outcome]:
        """Start a pass, if none is under way. Never waits for one."""
        if not self._jobs:
            return self._told()
        try:
            model = self._models.get(MODEL)
        except TurnstreamError as error:
            self._fail(list(self._jobs.values()), error)
        else:
            if model is not None:
                self._begin(model)
                self._start_pass(model)
        return self._told()

    @property
    def urgency(self) -> Urgency | None:
        return min((job.urgency for job in self._waiting()), default=None) if self._pass is None else None

    def park(self) -> None:
        """Waits for the end of the pass that is under way: the networks are not free before."""
        if self._pass is not None:
            wait([self._pass.future])
            self._settle_pass()

    def close(self) -> None:
        super().close()
        self._networks.shutdown(wait=False, cancel_futures=True)

    # What goes on aside

    def _decode(self, task: JobTask, cancelled: Cancelled, tell: Tell) -> Recording:
        waveform = self._recordings.waveform(task.job, cancelled, tell)
        vad = TranscribeParams.model_validate(task.params).vad
        try:
            return Recording(waveform, stretches(waveform.samples, vad, cancelled))
        except BaseException:
            waveform.close()
            raise

    def _begin(self, model: TranscriptionModel) -> None:
        """Jobs that waited for the model. One without speech has its end at once."""
        for job in self._waiting():
            if job.stage is Stage.LOAD:
                try:
                    job.begin(model)
                except TurnstreamError as error:
                    self._fail([job], error)
                else:
                    self._end_if_over(job)

    def _start_pass(self, model: TranscriptionModel) -> None:
        job = min(self._waiting(), key=lambda job: job.urgency, default=None)
        if job is not None and self._pass is None:
            future = self._networks.submit(_hear, model, job.next(), job.language, job.cancelled.is_set)
            self._pass = _Pass(job, future)
            future.add_done_callback(lambda _: self._changed.set())

    def _settle_pass(self) -> None:
        if self._pass is None or not self._pass.future.done():
            return
        job, future = self._pass.job, self._pass.future
        self._pass = None
        if self._jobs.get(job.task.id) is not job:  # cancelled meanwhile
            return
        try:
            job.take(*future.result())
        except Exception as error:
            self._fail([job], error)
        else:
            self._end_if_over(job)

    # The jobs

    def _waiting(self) -> list[OpenJob]:
        """Those that want the model."""
        return [job for job in self._jobs.values() if job.waits_for_the_model]

    def _end_if_over(self, job: OpenJob) -> None:
        if job.over:
            self._outcomes.append(Finished(job.task.id, job.result()))
            self.cancel(job.task.id)


def _hear(
    model: TranscriptionModel, samples: Samples, language: str | None, cancelled: Callable[[], bool]
) -> tuple[Passage, float]:
    started = time.monotonic()
    passage = model.hear(samples, language, cancelled)
    return passage, time.monotonic() - started
