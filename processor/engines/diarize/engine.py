"""Diarization by continuous batching: each step is one forward pass, filled with windows of any open jobs."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from processor.audio import Waveform
from processor.engines.base import Engine, Failed, Finished, JobTask, Outcome, Progressed
from processor.engines.diarize import embedding, segmentation
from processor.engines.diarize.clustering import Turns, cluster
from processor.engines.diarize.embedding import Array
from processor.engines.diarize.job import OpenJob, Slot, Stage
from processor.engines.diarize.model import DiarizationModel
from processor.model_manager import ModelManager, out_of_memory
from schemas.errors import EngineFailed, EngineOutOfMemory, ErrorInfo, TurnstreamError
from schemas.jobs import Job, Lane

log = logging.getLogger(__name__)

Id = tuple[str, str]
OpenRecording = Callable[[Job, Callable[[], bool]], Waveform]
"""The decoded recording of a job; the second argument says when nobody wants it any more."""

MODEL = "diarize"
DECODERS = 2
"""Recordings decoded at once. One of them is kept for interactive jobs."""
WAIT = 0.05
"""Seconds a step waits for what goes on aside when there is no pass to run."""
TELL = 1.0
"""Seconds between two progress outcomes of a job."""
ROOM = {Stage.SEGMENTATION: segmentation.WINDOWS_A_PASS, Stage.EMBEDDING: embedding.WINDOWS_A_PASS}


class DiarizeEngine(Engine):
    """The networks run in the step, one pass at a time; loading, decoding and clustering run aside, in threads.

    Passes have fixed shapes, so the turns of a job are the same whoever shares its passes.
    """

    def __init__(self, load: Callable[[], DiarizationModel], recording: OpenRecording) -> None:
        self._recording = recording
        self._changed = threading.Event()
        self._models = ModelManager({MODEL: load}, self._changed.set)
        self._decoders = ThreadPoolExecutor(DECODERS, "decode")
        self._clusterer = ThreadPoolExecutor(1, "cluster")
        self._jobs: dict[Id, OpenJob] = {}
        self._opened = 0
        self._outcomes: list[Outcome] = []

    # The port

    def open(self, task: JobTask) -> None:
        self._drop(task.id)  # a job that is opened anew starts anew
        self._opened += 1
        self._jobs[task.id] = OpenJob(task, self._opened)
        self._decode_next()

    def step(self) -> list[Outcome]:
        self._changed.clear()
        self._settle_decoding()
        self._settle_clustering()
        if not self._run_pass(self._model()) and not self._outcomes:
            self._changed.wait(WAIT)
        self._tell_progress()
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def cancel(self, id: Id) -> None:
        self._drop(id)

    def close(self) -> None:
        for id in list(self._jobs):
            self._drop(id)
        self._decoders.shutdown(wait=False, cancel_futures=True)
        self._clusterer.shutdown(wait=False, cancel_futures=True)
        self._models.unload()

    @property
    def open_jobs(self) -> int:
        return len(self._jobs)

    @property
    def loading(self) -> bool:
        return self._models.loading

    # What goes on aside

    def _decode_next(self) -> None:
        running = [job for job in self._jobs.values() if job.decoding is not None and not job.decoding.done()]
        for job in self._by_urgency():
            of_batch = sum(other.task.job.lane is Lane.BATCH for other in running)
            room = len(running) < DECODERS and not (job.task.job.lane is Lane.BATCH and of_batch >= DECODERS - 1)
            if job.decoding is None and room:
                job.decoding = self._decoders.submit(self._decode, job)
                job.decoding.add_done_callback(self._wake)
                running.append(job)

    def _decode(self, job: OpenJob) -> Waveform:
        with _Timer() as timer:
            waveform = self._recording(job.task.job, job.cancelled.is_set)
        job.spent[Stage.DECODE] = timer.seconds
        return waveform

    def _settle_decoding(self) -> None:
        for job in list(self._jobs.values()):
            if job.stage is Stage.DECODE and job.decoding is not None and job.decoding.done():
                try:
                    job.decoded(job.decoding.result())
                except Exception as error:
                    self._fail([job], error)
        self._decode_next()

    def _model(self) -> DiarizationModel | None:
        """The model, with all jobs that waited for it begun; None while it is not there."""
        if not self._jobs:
            return None
        try:
            model = self._models.get(MODEL)
        except TurnstreamError as error:
            self._fail(list(self._jobs.values()), error)
            return None
        if model is not None:
            for job in self._jobs.values():
                if job.stage is Stage.LOAD:
                    job.begin(model)
        return model

    def _start_clustering(self, job: OpenJob, model: DiarizationModel) -> None:
        clustering = self._clusterer.submit(self._cluster, job, model)
        job.clustered_by(clustering)
        clustering.add_done_callback(self._wake)

    @staticmethod
    def _cluster(job: OpenJob, model: DiarizationModel) -> Turns:
        with _Timer() as timer:
            turns = cluster(model.pipeline, job.activity, job.vectors, job.task.job.params)
        job.spent[Stage.CLUSTERING] = timer.seconds
        return turns

    def _settle_clustering(self) -> None:
        for id, job in list(self._jobs.items()):
            if job.clustering is not None and job.clustering.done():
                try:
                    self._outcomes.append(Finished(id, job.result(job.clustering.result())))
                    self._drop(id)
                except Exception as error:
                    self._fail([job], error)

    def _wake(self, _: "Future[Waveform] | Future[Turns]") -> None:
        self._changed.set()

    # The networks

    def _run_pass(self, model: DiarizationModel | None) -> bool:
        """Run a pass of the kind that the most urgent job wants; others' windows take the room it leaves."""
        jobs = self._by_urgency()
        stage = next((job.stage for job in jobs if job.stage in ROOM), None)
        if model is None or stage is None:
            return False
        self._pass(stage, jobs, model)
        return True

    def _pass(self, stage: Stage, jobs: Iterable[OpenJob], model: DiarizationModel) -> None:
        """If it fails, each job that shared it gets a pass of its own, so that only the one at fault fails."""
        slots: list[Slot] = []
        for job in jobs:
            slots += job.slots(stage, ROOM[stage] - len(slots))
        sharing = list(dict.fromkeys(slot.job for slot in slots))
        try:
            with _Timer() as timer:
                values = _forward(stage, slots, model)
        except Exception as error:
            if len(sharing) == 1 or out_of_memory(error):
                self._fail(sharing, error)
            else:
                for job in sharing:
                    self._pass(stage, [job], model)
            return
        for slot, value in zip(slots, values, strict=True):
            slot.job.take(stage, slot.index, value)
        for job in sharing:
            job.spent[stage] += timer.seconds
            if job.through_networks:
                self._start_clustering(job, model)

    # The jobs

    def _by_urgency(self) -> list[OpenJob]:
        return sorted(self._jobs.values(), key=lambda job: job.urgency)

    def _tell_progress(self) -> None:
        now = time.monotonic()
        for id, job in self._jobs.items():
            if now - job.told >= TELL:
                job.told = now
                self._outcomes.append(Progressed(id, job.progress()))

    def _fail(self, jobs: Sequence[OpenJob], error: Exception) -> None:
        for job in jobs:
            self._outcomes.append(Failed(job.task.id, _info(error)))
            self._drop(job.task.id)

    def _drop(self, id: Id) -> None:
        job = self._jobs.pop(id, None)
        if job is not None:
            job.release()


def _forward(stage: Stage, slots: Sequence[Slot], model: DiarizationModel) -> Array:
    windows = [slot.window for slot in slots]
    if stage is Stage.SEGMENTATION:
        return model.segmenter(windows)
    return model.embedder(windows, [slot.masks for slot in slots if slot.masks is not None])


def _info(error: Exception) -> ErrorInfo:
    if isinstance(error, TurnstreamError):
        return error.info
    log.error("a job failed", exc_info=error)
    if out_of_memory(error):
        return EngineOutOfMemory().info
    return EngineFailed(f"The engine failed on this recording: {type(error).__name__}").info


class _Timer:
    seconds = 0.0

    def __enter__(self) -> "_Timer":
        self._started = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._started
