import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer_api.negotiation import choose
from schemas.errors import NotAcceptable
from schemas.formats import DIARIZATION_FORMATS, JSON, RTTM, TRANSCRIPT_FORMATS, TRANSCRIPTION_FORMATS

FORMATS = {"json": JSON, "rttm": RTTM}


@pytest.mark.parametrize(
    "name, accept, chosen",
    [
        (None, "*/*", "json"),
        (None, "", "json"),
        (None, "application/*", "json"),
        (None, "text/x-rttm", "rttm"),
        (None, "TEXT/X-RTTM; charset=utf-8", "rttm"),
        (None, "application/json;q=0.2, text/x-rttm;q=0.9", "rttm"),
        (None, "application/json;q=0, */*;q=0.1", "rttm"),
        (None, "text/html, */*;q=0.8", "json"),
        (None, "text/*;q=0.1, application/*;q=0.05", "rttm"),
        (None, "text/x-rttm ; q=0.5 , application/json ; q=0.4", "rttm"),
        (None, "application/json;q=nan, text/x-rttm;q=0.001", "rttm"),
        (None, "application/json;q=7, text/x-rttm;q=1.000", "rttm"),
        (None, "*/*;q=0.1, text/*;q=0, application/json;q=0.05", "json"),
        (None, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "json"),
        (None, ", ,;", "json"),
        (None, "text/rttm", "rttm"),
        (None, "Application/RTTM;q=0.5, application/json;q=0.4", "rttm"),
        ("rttm", "application/json", "rttm"),
        ("RTTM", "*/*", "rttm"),
        ("json", "image/png", "json"),
    ],
)
def test_the_best_format_is_chosen(name, accept, chosen):
    assert choose(FORMATS, name, accept) is FORMATS[chosen]


@pytest.mark.parametrize("formats", [DIARIZATION_FORMATS, TRANSCRIPTION_FORMATS, TRANSCRIPT_FORMATS])
@pytest.mark.parametrize("accept", ["application/x-subrip", "application/srt", "text/srt", "text/x-srt"])
def test_subtitles_have_no_registered_name_and_several_others(formats, accept):
    assert choose(formats, None, accept) is formats["srt"]


@pytest.mark.parametrize(
    "name, accept",
    [("xml", "*/*"), ("", "*/*"), (None, "image/png"), (None, "*/*;q=0"), (None, "*/*;q=x"), (None, "*/*;q=")],
)
def test_what_does_not_exist_is_not_acceptable(name, accept):
    with pytest.raises(NotAcceptable) as refused:
        choose(FORMATS, name, accept)
    assert refused.value.extra["formats"] == ["json", "rttm"]


@given(st.text() | st.text(alphabet="*/;=q0.1,text "))
def test_any_header_has_an_answer(accept):
    try:
        assert choose(FORMATS, None, accept) in FORMATS.values()
    except NotAcceptable as refused:
        assert refused.extra["media_types"] == ["application/json", "text/x-rttm"]
