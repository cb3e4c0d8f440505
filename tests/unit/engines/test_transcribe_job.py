"""How far a transcription is, told while a stretch is heard."""

import pytest

from processor.audio import SAMPLE_RATE, Waveform
from processor.engines.decoding import Decoding
from processor.engines.transcribe import job as module
from processor.engines.transcribe.job import OpenJob, Recording
from processor.engines.transcribe.passages import Passage
from processor.engines.transcribe.stretches import WINDOW
from tests.support.whisper import QuickWhisper, speechless, transcribe_task


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_what_is_left_falls_while_a_stretch_is_heard(clock: Clock):
    job = OpenJob(transcribe_task())
    decoding = Decoding(job.task)
    spans = [(at * WINDOW, (at + 1) * WINDOW) for at in range(4)]
    decoding.future.set_result(Recording(Waveform(speechless(0, 4), SAMPLE_RATE, 1), spans))
    job.decoded(decoding)
    clock.now += 60  # parked, and another model has its turn: that says nothing of how fast this one is
    job.begin(QuickWhisper())
    assert (job.progress().fraction, job.progress().eta) == (0, None)

    clock.now += 7
    job.take(Passage([], "en", 1.0), 7)
    seen = []
    for _ in range(4):
        seen.append((job.progress().fraction, job.progress().eta))
        clock.now += 3
    assert seen == [(0.25, 21), (0.25, 18), (0.25, 15), (0.25, 12)]

    clock.now += 60
    assert job.progress().eta == 0
    job.take(Passage([], "en", 1.0), 79)
    assert (job.progress().fraction, job.progress().eta) == (0.5, 79)
