"""Which source is taken, and what each way of failing says. The hub is a server of our own."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import WeightsTermsNotAccepted, WeightsTokenRefused, WeightsUnavailable
from tests.support.fake_hub import COMMIT, NARROW_TOKEN, TOKEN, FakeHub, fake_hub
from tests.support.weights import SHAPE_OF_3_1, make_pipeline
from turnstream.settings import Settings
from turnstream.weights import (
    COMMUNITY_1,
    OPEN_PACK_DOWNLOAD,
    Source,
    Weights,
    available,
    download_size,
    quiet,
    resolve,
)
from turnstream.weights.layout import fingerprint

VARIABLES = ("HF_TOKEN", "DIARIZATION_MODEL", "CACHE_DIR", "HF_ENDPOINT", "HF_HUB_OFFLINE", "PYANNOTE_METRICS_ENABLED")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that it is restored whatever `quiet` sets
        monkeypatch.delenv(name)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub with a pipeline of community-1's shape and one of 3.1's, whose networks are in other repositories."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    files = make_pipeline(tmp_path / "community-1")
    other = make_pipeline(tmp_path / "3.1", SHAPE_OF_3_1)
    contents = {str(path.relative_to(files)): path.read_bytes() for path in files.rglob("*") if path.is_file()}
    with fake_hub() as server:
        server.repos = {
            COMMUNITY_1: contents,
            "pyannote/speaker-diarization-3.1": {"config.yaml": (other / "config.yaml").read_bytes()},
            "pyannote/segmentation-3.0": {"pytorch_model.bin": b"segmentation 3.0"},
            "pyannote/wespeaker-voxceleb-resnet34-LM": {"pytorch_model.bin": b"wespeaker"},
        }
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def with_token(cache: Path, model: str = COMMUNITY_1, token: str = TOKEN) -> Settings:
    return Settings(hf_token=token, diarization_model=model, cache_dir=cache)


def test_a_local_directory_comes_first(tmp_path: Path, cache: Path):
    directory = make_pipeline(tmp_path / "mine")
    settings = with_token(cache, str(directory))
    expected = Weights(directory, "mine", Source.DIRECTORY, fingerprint(directory))
    assert resolve(settings) == available(settings) == expected
    assert download_size(settings) == 0


def test_with_a_token_the_hub_is_next(hub: FakeHub, cache: Path):
    settings = with_token(cache)
    assert available(settings) is None
    assert download_size(settings) is None

    weights = resolve(settings)

    assert (weights.name, weights.source) == (COMMUNITY_1, Source.HUB)
    assert weights.path.name == COMMIT
    assert weights.path.is_relative_to(cache)
    for part in ("segmentation", "embedding"):
        assert (weights.path / part / "pytorch_model.bin").read_text() == part
    assert available(settings) == weights
    assert download_size(settings) == 0


def test_what_the_cache_has_is_not_downloaded_again(hub: FakeHub, cache: Path):
    first = resolve(with_token(cache))
    assert ("GET", f"/{COMMUNITY_1}/resolve/{COMMIT}/embedding/pytorch_model.bin") in hub.requests
    hub.requests.clear()
    assert resolve(with_token(cache)) == first
    assert {method for method, _ in hub.requests} == {"HEAD"}


def test_a_hub_out_of_reach_does_no_harm_once_the_files_are_here(
    hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    first = resolve(with_token(cache))
    monkeypatch.setenv("HF_ENDPOINT", nobody_there())
    assert resolve(with_token(cache)) == first


def test_3_1_brings_its_networks_from_other_repositories(hub: FakeHub, cache: Path):
    settings = with_token(cache, "pyannote/speaker-diarization-3.1")
    weights = resolve(settings)
    assert weights.name == "pyannote/speaker-diarization-3.1"
    assert (weights.path / "segmentation" / "pytorch_model.bin").read_bytes() == b"segmentation 3.0"
    assert (weights.path / "embedding" / "pytorch_model.bin").read_bytes() == b"wespeaker"
    assert available(settings) == weights


def test_terms_not_accepted(hub: FakeHub, cache: Path):
    hub.gated = {"pyannote/segmentation-3.0"}
    with pytest.raises(WeightsTermsNotAccepted, match=r"https://hf\.co/pyannote/segmentation-3\.0"):
        resolve(with_token(cache, "pyannote/speaker-diarization-3.1"))


@pytest.mark.parametrize(("token", "says"), [("hf_wrong", "does not know"), (NARROW_TOKEN, "may not read")])
def test_a_token_that_is_refused(hub: FakeHub, cache: Path, token: str, says: str):
    with pytest.raises(WeightsTokenRefused, match=says) as error:
        resolve(with_token(cache, token=token))
    assert token not in error.value.detail


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("pyannote/no-such-model", "The hub has no pyannote/no-such-model"),
        ("pyannote/segmentation-3.0", "no config.yaml in pyannote/segmentation-3.0"),
        (f"{COMMUNITY_1}@v9", f"has no .*{COMMUNITY_1}"),
        ("models/of/mine", "neither a directory"),
    ],
)
def test_a_model_that_the_hub_does_not_have(hub: FakeHub, cache: Path, model: str, says: str):
    with pytest.raises(WeightsUnavailable, match=says):
        resolve(with_token(cache, model))


def test_a_hub_out_of_reach(hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_ENDPOINT", nobody_there())
    with pytest.raises(WeightsUnavailable, match="could not be reached"):
        resolve(with_token(cache))


def test_a_download_that_takes_too_long(hub: FakeHub, cache: Path):
    settings = with_token(cache).model_copy(update={"engine_load_limit": 0})
    with pytest.raises(WeightsUnavailable, match="did not arrive in time"):
        resolve(settings)


def test_without_a_token_a_model_of_the_hub_is_refused(cache: Path):
    settings = Settings(diarization_model="pyannote/speaker-diarization-3.1", cache_dir=cache, hf_token=" ")
    for ask in (resolve, available):
        with pytest.raises(WeightsUnavailable, match="HF_TOKEN"):
            ask(settings)


def test_a_directory_that_refers_to_the_hub_wants_a_token(hub: FakeHub, tmp_path: Path, cache: Path):
    directory = make_pipeline(tmp_path / "mine", SHAPE_OF_3_1)
    settings = Settings(diarization_model=str(directory), cache_dir=cache)
    with pytest.raises(WeightsUnavailable, match=r"pyannote/segmentation-3\.0"):
        resolve(settings)
    weights = resolve(with_token(cache, str(directory)))
    assert (weights.name, weights.source) == ("mine", Source.DIRECTORY)
    assert (weights.path / "embedding" / "pytorch_model.bin").read_bytes() == b"wespeaker"


def test_nothing_is_here_at_first(cache: Path):
    settings = Settings(cache_dir=cache)
    assert available(settings) is None
    assert download_size(settings) == OPEN_PACK_DOWNLOAD


def test_a_cache_that_cannot_be_written(cache: Path):
    cache.write_text("a file")
    with pytest.raises(WeightsUnavailable, match="CACHE_DIR"):
        resolve(Settings(cache_dir=cache))


@pytest.mark.parametrize(("token", "offline"), [("", "1"), (TOKEN, None)])
def test_nothing_calls_home(token: str, offline: str | None):
    quiet(Settings(hf_token=token))
    assert os.environ["PYANNOTE_METRICS_ENABLED"] == "0"
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
    assert os.environ.get("HF_HUB_OFFLINE") == offline


def test_importing_it_loads_no_library_of_models():
    heavy = "{'torch', 'pyannote', 'numpy', 'huggingface_hub', 'flatbuffers'}"
    code = f"import sys, turnstream.weights; print(sorted({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_an_arrangement_survives_its_source(hub: FakeHub, cache: Path):
    settings = with_token(cache, "pyannote/speaker-diarization-3.1")
    first = resolve(settings)
    shutil.rmtree(cache / "hub")
    assert available(settings) is None
    assert resolve(settings) == first


def nobody_there() -> str:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}"
