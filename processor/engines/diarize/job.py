"""One open job of the diarization engine: its tracks, and how far it has come."""

import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from enum import StrEnum
from statistics import fmean
from typing import Any

from processor.audio import Waveform
from processor.engines.base import JobTask, Urgency
from processor.engines.decoding import Decoding
from processor.engines.diarize import result
from processor.engines.diarize.clustering import Survey, Turns
from processor.engines.diarize.kept import AudioFacts, Kept
from processor.engines.diarize.model import DiarizationModel
from processor.engines.diarize.track import SEGMENTATION, Kind, Slot, Track
from schemas.jobs import Channels, DiarizeParams, Lane, Mode, Progress

NEAR_TIE = "near_tie"
"""In some frames the two best classes of the segmentation are so close that rounding decides."""
FELL_BACK = "fast_fell_back"
"""Fast was asked for, the number of speakers was a near-tie, and the recording was computed exactly."""


class Stage(StrEnum):
    DECODE = "decode"
    LOAD = "load"
    SEGMENTATION = "segmentation"
    EMBEDDING = "embedding"
    CLUSTERING = "clustering"


# For telling progress only: how much of a job is done when it is decoded, when the networks are through, and what the
# embedding costs where the segmentation costs one.
_DECODED, _BEFORE_CLUSTERING = 0.03, 0.99
_EMBEDDING_COST = {Mode.EXACT: 9, Mode.FAST: 2}

Found = Sequence[Waveform] | Kept | None
"""What came of looking for a recording: its tracks, or what an earlier run kept. None: that can be said when the model is
there."""


class OpenJob:
    """Used from the engine's thread, but for the seconds that its clustering `spent`, and for what never changes.

    It holds nothing of the model, which may be unloaded at any time and come again.
    """

    def __init__(self, task: JobTask, mode: Mode) -> None:
        """`mode` is that of jobs that do not say it. Raises a ValidationError where the parameters are none of diarization."""
        self.task = task
        self.params = DiarizeParams.model_validate(task.params)
        self.wanted = Mode(self.params.mode or mode)
        self.fell_back = False
        """Whether fast was tried, and looked risky."""
        self.refined = False
        """Whether the windows that a fast embedding left in doubt have been embedded exactly."""
        self.opened = time.monotonic()
        self.urgency: Urgency = (task.job.lane is Lane.BATCH, self.opened)
        self.cancelled = threading.Event()
        self.stage = Stage.DECODE
        self.spent = dict.fromkeys(Stage, 0.0)
        """Seconds by stage; a pass that several jobs share counts in full for each."""
        self.told = 0.0
        """When progress was last told, on the monotonic clock."""
        self.decoded_share = 0.0
        self.clustering: Future[list[Turns] | list[Survey]] | None = None
        self.kept: Kept | None = None
        """What everything after the networks starts from, once it is there."""
        self.fresh = False
        """Whether that was computed just now, not by an earlier run."""
        self._waveforms: Sequence[Waveform] = ()
        self._tracks: list[Track] = []
        self._since = self.opened

    @property
    def apart(self) -> bool:
        """Whether each channel has speakers of its own."""
        return self.params.channels is Channels.SPLIT

    # The way through the stages

    def decoded(self, decoding: Decoding[Found]) -> None:
        """Raises what the decoding raised."""
        found = decoding.result()
        self.spent[Stage.DECODE] += decoding.seconds
        if isinstance(found, Kept):
            self.kept, self.fell_back, self.refined = found, found.fell_back, True
        else:
            self._waveforms = found or ()
        self.stage, self._since = Stage.CLUSTERING if self.kept else Stage.LOAD, time.monotonic()

    def begin(self, model: DiarizationModel) -> bool:
        """The model is there: make room for what the networks will say. False: the recording is still to be looked for."""
        now = time.monotonic()
        self.spent[Stage.LOAD] += now - self._since
        self._tracks = [Track(waveform.samples, self.wanted, model) for waveform in self._waveforms]
        self.stage, self._since = Stage.SEGMENTATION if self._tracks else Stage.DECODE, now
        return bool(self._tracks)

    def resume(self, parked_at: float) -> None:
        """The model is there again: the time since `parked_at`, or since its clustering called for more passes, was one of
        waiting for it."""
        if self.wants_pass and self.stage is not Stage.LOAD:  # that one has not begun, and counts by itself
            waited = time.monotonic() - max(parked_at, self._since)
            self.spent[Stage.LOAD] += waited
            self._since += waited

    @property
    def wants_pass(self) -> bool:
        """Whether it goes on as soon as the model does."""
        return self.stage in {Stage.LOAD, Stage.SEGMENTATION, Stage.EMBEDDING}

    def prepare(self, model: DiarizationModel) -> None:
        """To be called after passes, and before they are filled."""
        if self.stage not in {Stage.SEGMENTATION, Stage.EMBEDDING}:
            return
        for track in self._tracks:
            track.prepare(model)
        if self.wants is None:
            self._through_networks()
        elif self.wants != SEGMENTATION:
            self.stage = Stage.EMBEDDING

    @property
    def wants(self) -> Kind | None:
        """The kind of pass that comes next; None where there is none, or not yet."""
        if not self.wants_pass:
            return None
        kinds: Iterable[Kind | None] = (track.wants for track in self._tracks)
        return next((kind for kind in kinds if kind is not None), None)

    def slots(self, kind: Kind, room: int) -> list[Slot]:
        """What wants a pass of this kind next, in its order, `room` at most."""
        slots: list[Slot] = []
        for track in self._tracks:
            slots += track.slots(kind, room - len(slots))
        return slots

    def passed(self, kind: Kind, seconds: float) -> None:
        """A pass of this kind was made, and what it found has been taken."""
        self.spent[Stage.SEGMENTATION if kind == SEGMENTATION else Stage.EMBEDDING] += seconds

    def _through_networks(self) -> None:
        self.stage, self.fresh = Stage.CLUSTERING, True
        tracks = self._tracks
        fast = any(track.mode is Mode.FAST for track in tracks) or self.refined
        mode = Mode.FAST if fast else Mode.EXACT
        audio, near_ties = AudioFacts.of(self._waveforms[0]), sum(track.near_ties for track in tracks)
        self.kept = Kept(audio, mode, self.fell_back, near_ties, tuple(track.analysis for track in tracks))
        if self.final:
            self._let_go_of_recording()

    @property
    def final(self) -> bool:
        """Whether the voice prints are as good as their mode makes them."""
        return self.refined or (self.kept is not None and self.kept.mode is Mode.EXACT)

    def surveyed(self, tracks: Sequence[Survey]) -> None:
        """What a fast embedding left in doubt is embedded exactly, and all of it where it looks risky.

        That depends on nothing that was asked for: a further run, which starts from what is kept, finds what a full one would.
        """
        self.fell_back = any(survey.risky for survey in tracks)
        self.refined, self.clustering = not self.fell_back, None
        if not self.fell_back and not any(len(survey.doubtful) for survey in tracks):
            self._let_go_of_recording()
            return
        for track, survey in zip(self._tracks, tracks, strict=True):
            track.embed_again(None if self.fell_back else survey.doubtful)
        self.kept, self.stage, self._since = None, Stage.EMBEDDING, time.monotonic()

    def release(self) -> None:
        """Nobody wants it any more."""
        self.cancelled.set()
        self.kept = None
        self._let_go_of_recording()

    def _let_go_of_recording(self) -> None:
        self._tracks = []
        for waveform in self._waveforms:
            waveform.close()

    # What is told of it

    def progress(self) -> Progress:
        done = self._done()
        share = {
            Stage.DECODE: self.decoded_share * _DECODED,
            Stage.LOAD: _DECODED,
            Stage.CLUSTERING: _BEFORE_CLUSTERING,
        }
        if self.refined:
            done, share[Stage.EMBEDDING] = 0.0, _BEFORE_CLUSTERING
        fraction = share.get(self.stage, _DECODED + done * (_BEFORE_CLUSTERING - _DECODED))
        eta = round((time.monotonic() - self._since) * (1 - done) / done, 1) if done else None
        return Progress(stage=self.stage, fraction=round(fraction, 4), eta=eta)

    def _done(self) -> float:
        """The networks' share, 0 to 1; 0 where they have not begun, or are through."""
        if not self._tracks:
            return 0.0
        costs = [_EMBEDDING_COST[track.mode] for track in self._tracks]
        return fmean(
            (track.segmented + track.embedded * cost) / (1 + cost)
            for track, cost in zip(self._tracks, costs, strict=True)
        )

    def result(self, tracks: Sequence[Turns], model: dict[str, str]) -> dict[str, Any]:
        """The fields of DiarizationResult but `job_id`, `run` and `timings.queue`. `model` says what computed it."""
        kept, audio = self.kept, self.task.job.audio
        assert kept is not None and audio is not None  # noqa: S101 - it was computed from them
        total = round(time.monotonic() - self.opened, 3)
        warnings = [*kept.audio.warnings, *(code for turns in tracks for code in turns.warnings)]
        warnings += [NEAR_TIE] * (kept.near_ties > 0) + [FELL_BACK] * kept.fell_back
        return {
            **result.found(tracks, embeddings=self.params.embeddings),
            "performance": total,
            "timings": {str(stage): round(seconds, 3) for stage, seconds in self.spent.items()} | {"total": total},
            "warnings": list(dict.fromkeys(warnings)),
            "audio": {**kept.audio.model_dump(exclude={"warnings"}), "sha256": audio.sha256},
            "model": {**model, "mode": str(kept.mode)},
        }
