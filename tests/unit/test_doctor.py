"""`turnstream doctor` on a service that runs: whether it lets us in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api import SharedProber
from tests.support.served import serving
from turnstream.doctor import Finding, running
from turnstream.settings import Settings


@pytest.fixture(scope="module")
def prober() -> Iterator[SharedProber]:
    prober = SharedProber()
    yield prober
    prober.end()


@pytest.mark.parametrize(
    ("keys", "key", "fine", "says"),
    [
        ("right,other", "other", True, "accepted"),
        ("right,other", "wrong", False, "not accepted: API_KEY is none of its keys"),
        ("right,other", "", False, "not accepted: it asks for one: set API_KEY"),
        ("", "", True, "none is asked for"),
    ],
)
def test_it_says_whether_the_key_is_accepted(tmp_path: Path, prober, keys: str, key: str, fine: bool, says: str):
    with serving(tmp_path / "service", prober, api_key=keys) as service:
        settings = Settings(_env_file=None, turnstream_url=service.url, api_key=key, data_dir=tmp_path)
        ready = Finding("service", True, f"ready at {service.url}")
        assert list(running(settings)) == [ready, Finding("key", fine, says)]
