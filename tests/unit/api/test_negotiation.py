import pytest

from producer_api.negotiation import choose
from schemas.errors import NotAcceptable
from schemas.formats import JSON, RTTM

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
        ("rttm", "application/json", "rttm"),
        ("json", "image/png", "json"),
    ],
)
def test_the_best_format_is_chosen(name, accept, chosen):
    assert choose(FORMATS, name, accept) is FORMATS[chosen]


@pytest.mark.parametrize(
    "name, accept", [("xml", "*/*"), ("", "*/*"), (None, "image/png"), (None, "*/*;q=0"), (None, "*/*;q=x")]
)
def test_what_does_not_exist_is_not_acceptable(name, accept):
    with pytest.raises(NotAcceptable):
        choose(FORMATS, name, accept)
