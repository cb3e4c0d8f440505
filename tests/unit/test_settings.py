"""Settings: names of the environment, each documented, contradictions refused."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from turnstream.settings import BrokerKind, Settings, key_id


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_names_of_the_seed_system(monkeypatch):
    for name, value in {
        "HF_TOKEN": "t",
        "ENABLE_DIARIZATION": "false",
        "DIARIZATION_MAX_BATCH_SIZE": "4",
        "API_KEY": "k",
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.hf_token and settings.hf_token.get_secret_value() == "t"
    assert not settings.enable_diarization
    assert settings.diarization_max_batch_size == 4
    assert settings.api_keys == {key_id("k"): "k"}


def test_a_file_serves_too(tmp_path):
    """In a process of its own: the tests themselves read no file."""
    (tmp_path / ".env").write_text("PORT=8123\nUNKNOWN=1\n")
    program = "from turnstream.settings import Settings; print(Settings().port)"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    assert done.stdout == b"8123\n"


def test_several_keys_are_separated_by_commas(monkeypatch):
    monkeypatch.setenv("API_KEY", "a, b,,")
    assert sorted(Settings().api_keys.values()) == ["a", "b"]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_empty_value_is_as_good_as_none(monkeypatch, name: str):
    without = Settings()
    monkeypatch.setenv(name.upper(), "")
    assert Settings() == without


def test_an_empty_variable_takes_back_what_the_file_says(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("KAFKA_BOOTSTRAP_SERVERS=elsewhere:9092\nPORT=8123\n")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "")
    settings = Settings(_env_file=tmp_path / ".env")
    assert (settings.kafka_bootstrap_servers, settings.port) == ("", 8123)


def test_an_empty_key_is_no_key(monkeypatch):
    monkeypatch.setenv("API_KEY", "")
    assert Settings().api_keys == {}


@pytest.mark.parametrize(
    ("host", "inside"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("api", False)]
)
def test_loopback(host: str, inside: bool):
    assert Settings(host=host).loopback_only is inside


@pytest.mark.parametrize(
    "wrong", [{"diarization_max_batch_size": 0}, {"port": 70000}, {"device": "abacus"}, {"broker": BrokerKind.KAFKA}]
)
def test_contradictions_are_refused(wrong):
    with pytest.raises(ValidationError):
        Settings(**wrong)


def test_delays_as_people_write_them(monkeypatch):
    monkeypatch.setenv("RETRY_DELAYS", "1, 2.5,0")
    assert Settings().retry_delays == (1, 2.5, 0)


@pytest.mark.parametrize("wrong", ["1,2", "1,2,3,4", "a,b,c", "-1,2,3", "1,nan,3", "1,2,inf"])
def test_delays_that_are_none(monkeypatch, wrong: str):
    monkeypatch.setenv("RETRY_DELAYS", wrong)
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize(("id", "fits"), [("", True), ("north-1.example", True), ("a/b", False), ("two words", False)])
def test_the_id_of_a_worker_is_one_that_kafka_takes(monkeypatch, id: str, fits: bool):
    monkeypatch.setenv("WORKER_ID", id)
    if fits:
        assert Settings().worker_id == id
    else:
        with pytest.raises(ValidationError):
            Settings()


def test_secrets_do_not_print(monkeypatch):
    monkeypatch.setenv("API_KEY", "hunter2")
    assert "hunter2" not in repr(Settings())


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_setting_is_documented(name: str):
    assert Settings.model_fields[name].description
