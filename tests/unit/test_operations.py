"""Operations are found where they are installed, and all that takes part follows from them."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from schemas.base import Form
from schemas.errors import SettingsInvalid
from schemas.operation import Operation
from schemas.operations import DIARIZE, TRANSCRIBE, TRANSCRIPT
from tests.support.documents import page
from tests.support.speak import SOURCE, SPEAK, install
from turnstream import operations
from turnstream.operations import GROUP, installed, load, result_topics

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
def points(monkeypatch: pytest.MonkeyPatch):
    """What distributions name, in place of those that are installed."""

    def replace_points(*values: str) -> None:
        found = [EntryPoint(name=f"point-{n}", value=value, group=GROUP) for n, value in enumerate(values)]
        monkeypatch.setattr(operations, "entry_points", lambda group: found)
        installed.cache_clear()

    yield replace_points
    installed.cache_clear()


BUILT_IN = ("DIARIZE", "TRANSCRIBE", "TRANSCRIPT")
BROKEN: object = "not an operation"
HALF = replace(TRANSCRIPT, name="half", stages=("diarize", "nothing"))


class LaneParams(Form):
    lane: str = "fast"


CLASHING = replace(SPEAK, params=LaneParams)
MISPLACED = replace(SPEAK, topic="gpu-jobs")
NESTED = replace(TRANSCRIPT, name="nested", stages=("diarize", "transcript"))


def test_those_of_turnstream_are_installed():
    assert installed() == {"diarize": DIARIZE, "transcribe": TRANSCRIBE, "transcript": TRANSCRIPT}
    assert result_topics(installed()) == ("diarization-results", "transcription-results")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["no_such_module:X"], r"point-0 \(no_such_module:X\) cannot be imported: ModuleNotFoundError"),
        (["schemas.operations:NOTHING"], "cannot be imported: AttributeError"),
        (["tests.unit.test_operations:BROKEN"], "is no operation"),
        (["schemas.operations:DIARIZE", "schemas.operations:DIARIZE"], "two distributions bring an operation diarize"),
        (["schemas.operations:DIARIZE", "tests.unit.test_operations:HALF"], "stage nothing"),
        (["tests.unit.test_operations:CLASHING"], "parameter lane, which means something else"),
        (["tests.unit.test_operations:MISPLACED"], "results on gpu-jobs"),
        (
            [*(f"schemas.operations:{name}" for name in BUILT_IN), "tests.unit.test_operations:NESTED"],
            "stage transcript, which is no operation with an engine",
        ),
    ],
)
def test_what_is_no_operation_stops_the_start_and_is_named(points, values: list[str], says: str):
    points(*values)
    with pytest.raises(SettingsInvalid, match=says):
        installed()


@pytest.mark.parametrize("name", ["", "Speak", "speak/now", "../speak", "1st", "a" * 32])
def test_a_name_fits_into_keys_and_slots(name: str):
    with pytest.raises(ValueError, match="no name for an operation"):
        replace(SPEAK, name=name)


@pytest.mark.parametrize(
    "wrong",
    [{"engine": None}, {"stages": ("diarize",), "combine": "a:b"}, {"engine": None, "stages": ("diarize",)}],
)
def test_an_operation_says_who_does_the_work(wrong: dict):
    with pytest.raises(ValueError, match="needs an engine, or stages"):
        replace(SPEAK, **wrong)


@pytest.mark.parametrize("operation", [*installed().values(), SPEAK], ids=lambda operation: operation.name)
def test_an_operation_is_whole(operation: Operation):
    """Its example is a result, every format writes it, and its parameters survive the way to the worker."""
    result = operation.result.model_validate(
        {**operation.example, "job_id": "019a1c2e-7c00-7000-8000-000000000000", "run": "live"}
    )
    for format_ in operation.formats.values():
        assert isinstance(format_.write(result), str | bytes)
    assert len({format_.media_type for format_ in operation.formats.values()}) == len(operation.formats)
    assert (operation.completed, operation.failed) == (
        f"turnstream.{operation.event}.completed.v1",
        f"turnstream.{operation.event}.failed.v1",
    )
    assert operation.models in {operation.stages, (operation.name,)}
    for path in (operation.check, operation.combine):
        assert path is None or callable(load(path))


# A third one, from a distribution of its own

PROGRAM = """
import asyncio, json, httpx
from producer_api.app import create_app
from turnstream.bus.memory import MemoryBus
from turnstream.object_store.memory import MemoryStore
from turnstream.records import Records
from turnstream.settings import Settings

async def main():
    store, bus = MemoryStore(), MemoryBus()
    app = create_app(Settings(_env_file=None), store=store, bus=bus)
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
            while (await client.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.01)
            form = {"operation": (None, "speak"), "text": (None, "Hello")}
            answer = await client.post("/api/v1/jobs", files=form)
    slots = Records(store).layout().slot
    topic = await bus_topics(bus)
    print(json.dumps({"status": answer.status_code, "view": answer.json(), "slots": slots, "topic": topic}))

async def bus_topics(bus):
    await bus.start()
    return await bus.topic_id("speech-results")

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that finds the plug-in."""
    return {**os.environ, "PYTHONPATH": str(install(tmp_path_factory.mktemp("plugin")))}


def run(environment: dict[str, str], folder: Path, *command: str) -> str:
    environment = environment | {"DATA_DIR": str(folder), "API_KEY": "", "HOST": "127.0.0.1"}
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_operation_that_is_installed_is_taken_in_and_published(plugged, tmp_path: Path):
    found = json.loads(run(plugged, tmp_path, "-c", PROGRAM).splitlines()[-1])
    assert found["status"] == 202, found
    assert found["view"]["params"] == {"text": "Hello", "voice": "low", "speed": 1.0}
    assert found["slots"].keys() > {"speak/interactive", "speak/batch", "diarize/interactive"}
    assert found["topic"]


def test_an_operation_that_is_installed_is_described(plugged, tmp_path: Path):
    document = json.loads(run(plugged, tmp_path, "-m", "producer_api.describe"))
    call = document["paths"]["/api/v1/jobs/{job_id}/result"]["get"]
    assert call["responses"]["200"]["content"].keys() >= {"audio/wav", "application/json", "text/vtt"}
    form = document["paths"]["/api/v1/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["operation"]["enum"] == ["diarize", "transcribe", "transcript", "speak"]


def test_the_api_imports_no_engine_of_it(plugged, tmp_path: Path):
    program = (
        "import sys; from producer_api.app import create_app; from turnstream.operations import installed; installed()"
    )
    program += "; print({'processor', 'turnstream_speak.engine'} & set(sys.modules))"
    assert run(plugged, tmp_path, "-c", program) == "set()\n"


# What the documentation shows of it


def test_the_documentation_shows_the_files_of_the_plug_in_as_they_are():
    shown = {block.marks["file"]: block.text for block in page(DOCS).blocks if "file" in block.marks}
    written = ("pyproject.toml", "turnstream_speak/operation.py", "turnstream_speak/engine.py")
    assert shown == {f"{SOURCE.name}/{name}": (SOURCE / name).read_text() for name in written}


def test_the_documentation_names_the_formats_there_are():
    rows = re.findall(r"^\| `([a-z-]+)` \| .* \| (.*) \|$", DOCS.read_text(), re.M)
    assert dict(rows) == {name: ", ".join(operation.formats) for name, operation in installed().items()}
