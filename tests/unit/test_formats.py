"""Results in other formats, read back by an independent parser."""

import json

from pyannote.database.util import load_rttm

from schemas.formats import FORMATS, to_json, to_rttm
from schemas.results import AnalysedAudio, DiarizationResult, ModelInfo, Segment, Timings

RESULT = DiarizationResult(
    job_id="01900000-0000-7000-8000-000000000000",
    run="live",
    segments=[Segment(speaker="SPEAKER_00", start=0.03, end=1.5), Segment(speaker="SPEAKER_01", start=1.25, end=2.0)],
    exclusive_segments=[Segment(speaker="SPEAKER_00", start=0.03, end=1.5)],
    num_speakers=2,
    speakers=["SPEAKER_00", "SPEAKER_01"],
    performance=0.5,
    timings=Timings(queue=0, decode=0.1, load=0, segmentation=0.1, embedding=0.2, clustering=0.1, total=0.5),
    audio=AnalysedAudio(duration=2.0, sha256="0" * 64, sample_rate=16000, channels=1),
    model=ModelInfo(name="m", source="directory", mode="exact", device="cpu", revision="0"),
)


def test_rttm_reads_back(tmp_path):
    path = tmp_path / "result.rttm"
    path.write_text(to_rttm(RESULT))
    annotation = load_rttm(path)[RESULT.job_id]
    turns = [
        (label, round(turn.start, 3), round(turn.end, 3)) for turn, _, label in annotation.itertracks(yield_label=True)
    ]
    assert turns == [("SPEAKER_00", 0.03, 1.5), ("SPEAKER_01", 1.25, 2.0)]


def test_json_reads_back():
    assert DiarizationResult.model_validate(json.loads(to_json(RESULT))) == RESULT


def test_each_format_has_a_media_type_of_its_own():
    assert len({media for media, _ in FORMATS.values()}) == len(FORMATS)
