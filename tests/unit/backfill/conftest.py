"""An archive of small recordings, and a service that takes them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schemas.jobs import DiarizeParams
from schemas.operations import DIARIZE
from tests.support import recordings
from tests.support.api import SharedProber
from tests.support.served import Served, serving
from turnstream.backfill.archive import Choice
from turnstream.backfill.run import Places, backfill
from turnstream.backfill.work import Work
from turnstream.settings import Settings


@pytest.fixture(scope="session")
def prober() -> Iterator[SharedProber]:
    prober = SharedProber()
    yield prober
    prober.end()


@pytest.fixture
def service(tmp_path: Path, prober: SharedProber) -> Iterator[Served]:
    with serving(tmp_path / "data", prober) as served:
        yield served


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Four recordings of which two are equal, some in a folder."""
    folder = tmp_path / "archive"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(("one.wav", "two.wav", "deep/three.wav")):
        recordings.wav(recordings.tone(0.1, hertz=300 + 100 * number), 16_000, folder / name)
    (folder / "deep" / "one again.wav").write_bytes((folder / "one.wav").read_bytes())
    return folder


Fill = Callable[..., bool]


@pytest.fixture
def fill(service: Served) -> Fill:
    """`turnstream backfill` on the service; whether nothing failed."""

    def fill(source: Path, *, params: DiarizeParams | None = None, format_: str = "json", **how) -> bool:
        options = {name: how.pop(name) for name in ("out", "wait", "lane") if name in how}
        work = Work(DIARIZE, params or DiarizeParams(), format_, **options)
        places = Places(how.pop("failures", None), how.pop("state", None))
        given = {"at_once": 3, "choice": Choice(), "url": service.url} | how
        return backfill(Settings(_env_file=None), source, work, places=places, **given)

    return fill


def results(folder: Path) -> list[str]:
    """Files that are no recordings, and not hidden."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix != ".wav")
    return sorted(path.as_posix() for path in files if not path.name.startswith("."))
