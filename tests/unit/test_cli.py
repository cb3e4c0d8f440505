"""The console script: its commands, its one-line errors, its exit codes."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import PortTaken, ServiceUnreachable
from schemas.jobs import Channels, DiarizeParams, Mode, TranscriptParams
from turnstream import __version__, cli, local, submit

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No .env, no settings of the developer."""
    monkeypatch.chdir(tmp_path)
    for name in ("API_KEY", "PORT", "HOST", "DATA_DIR", "TURNSTREAM_URL", "KAFKA_BOOTSTRAP_SERVERS", "BROKER"):
        monkeypatch.delenv(name, raising=False)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.run(list(arguments))
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("asked", ["version", "--version"])
def test_version(capsys: pytest.CaptureFixture[str], asked: str):
    assert run(capsys, asked) == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("command", ["up", "submit", "rerun", "demo", "doctor", "layout", "dlq"])
def test_each_command_teaches_with_examples(capsys: pytest.CaptureFixture[str], command: str):
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert f"$ turnstream {command}" in out or f"turnstream {command}" in out.split("Examples")[1]


def test_the_help_says_the_exit_codes_and_where_to_read_on(capsys: pytest.CaptureFixture[str]):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert "Exit codes" in out
    pages = re.findall(r"docs/\w+\.md", out)
    assert "docs/tutorial.md" in pages
    assert [page for page in pages if not (ROOT / page).exists()] == []


def test_an_unknown_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]):
    code, _, err = run(capsys, "sing")
    assert code == 2
    assert "sing" in err


def test_a_missing_file_is_one_line(capsys: pytest.CaptureFixture[str]):
    assert run(capsys, "submit", "none.wav") == (2, "", "turnstream: there is no file none.wav\n")


def test_a_folder_is_for_another_command(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    code, _, err = run(capsys, "submit", str(tmp_path))
    assert (code, f"`turnstream backfill {tmp_path}`" in err) == (2, True)


@pytest.mark.parametrize("url", ["foo", "ftp://x", "http://[::"])
def test_what_is_no_address_is_a_wrong_call(capsys: pytest.CaptureFixture[str], tmp_path: Path, url: str):
    (tmp_path / "a.wav").touch()
    says = f"turnstream: {url!r} is not an address such as http://127.0.0.1:8000\n"
    assert run(capsys, "submit", "a.wav", "--url", url) == (2, "", says)


def test_parameters_that_contradict_each_other_are_one_line(capsys: pytest.CaptureFixture[str]):
    code, _, err = run(capsys, "submit", "a.wav", "--min-speakers", "5", "--max-speakers", "2")
    assert (code, err) == (2, "turnstream: min_speakers (5) is larger than max_speakers (2)\n")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a.wav", "--operation", "translate"], ["translate", "diarize, transcribe, transcript"]),
        (["a.wav", "--format", "text"], ["text", "there are json, rttm, csv"]),
        (["a.wav", "--operation", "transcribe", "--format", "rttm"], ["rttm", "json, srt, vtt, text"]),
        (["a.wav", "--language", "en"], ["diarize takes no language", "num_speakers"]),
        (["a.wav", "--operation", "transcribe", "--max-speakers", "2"], ["transcribe takes no max_speakers"]),
        (["a.wav", "--param", "mode"], ["NAME=VALUE"]),
        ([], ["diarize wants a recording"]),
    ],
)
def test_what_an_operation_does_not_know_is_wrong_usage_and_says_what_it_knows(capsys, monkeypatch, arguments, says):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = run(capsys, "submit", *arguments)
    assert (code, out) == (2, "")
    assert all(part in err for part in says), err


def test_submit_hands_over_the_operation_and_its_parameters(capsys, monkeypatch):
    given = []
    monkeypatch.setattr(submit, "submit", lambda *what, **how: given.append((*what[1:], how["lane"], how["format_"])))
    options = ["--operation", "transcript", "--language", "en", "--max-speakers", "3", "--param", "min_speakers=2"]
    assert run(capsys, "submit", "a.wav", *options, "--lane", "batch", "--format", "vtt")[0] == 0
    [(file, operation, params, lane, format_)] = given
    assert (file, operation.name, lane, format_) == (Path("a.wav"), "transcript", "batch", "vtt")
    assert (params.language, params.min_speakers, params.max_speakers) == ("en", 2, 3)


def test_submit_hands_over_how_the_turns_shall_be(capsys, monkeypatch):
    given = []
    monkeypatch.setattr(submit, "submit", lambda *what, **_: given.append(what[3]))
    options = ["--mode", "fast", "--channels", "split", "--embeddings", "--min-duration-off", "0.5"]
    assert run(capsys, "submit", "a.wav", *options)[0] == 0
    assert given == [DiarizeParams(mode=Mode.FAST, channels=Channels.SPLIT, embeddings=True, min_duration_off=0.5)]


def test_rerun_hands_over_what_was_said_and_what_is_taken_back(capsys, monkeypatch):
    given = []
    monkeypatch.setattr(submit, "rerun", lambda *what, **how: given.append((*what[1:], how["run"], how["format_"])))
    options = ["--num-speakers", "6", "--without", "max_speakers", "--param", "vad=false", "--run", "six"]
    assert run(capsys, "rerun", "an-id", *options, "--format", "rttm")[0] == 0
    assert given == [("an-id", {"max_speakers": "", "num_speakers": 6, "vad": "false"}, "six", "rttm")]


def test_every_parameter_of_our_operations_but_vad_has_an_option(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for command in ("submit", "rerun"):
        _, out, _ = run(capsys, command, "--help")
        shown = {name for name in TranscriptParams.model_fields if f"--{name.replace('_', '-')} " in out}
        assert shown == TranscriptParams.model_fields.keys() - {"vad"}


def test_a_setting_that_is_not_valid_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PORT", "eighty")
    code, _, err = run(capsys, "doctor")
    assert code == 2
    assert err.startswith("turnstream: PORT: ")
    assert err.count("\n") == 1


def test_a_part_of_a_setting_that_is_not_valid_is_told_by_the_name_of_the_setting(capsys, monkeypatch):
    monkeypatch.setenv("WEBHOOK_ALLOWED_NETWORKS", "10.0.0.0/8,10.0.0.1/8")
    code, _, err = run(capsys, "doctor")
    assert code == 2
    assert err.startswith("turnstream: WEBHOOK_ALLOWED_NETWORKS: ")


@pytest.mark.parametrize(("error", "code"), [(PortTaken("taken"), 2), (ServiceUnreachable("away"), 1)])
def test_errors_of_the_tree_end_with_their_exit_code(capsys, monkeypatch, error, code: int):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(submit, "submit", fail)
    assert run(capsys, "submit", "a.wav") == (code, "", f"turnstream: {error.detail}\n")


def test_ctrl_c_is_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(submit, "submit", interrupt)
    code, _, err = run(capsys, "submit", "a.wav")
    assert code == 130
    assert "Traceback" not in err


def test_up_hands_its_options_over(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    given = []

    async def up(settings, _):
        given.append(settings)

    monkeypatch.setattr(local, "up", up)
    monkeypatch.setenv("HOST", "127.0.0.2")
    assert run(capsys, "up", "--data", str(tmp_path), "--port", "8123", "--broker-port", "9092")[0] == 0
    settings = given[0]
    assert (settings.data_dir, settings.port, settings.host) == (tmp_path, 8123, "127.0.0.2")
    assert settings.broker_port == 9092


def test_up_on_a_taken_port_starts_nothing_and_says_what_to_type(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code, out, err = run(capsys, "up", "--data", str(tmp_path / "data"), "--port", str(port))
    assert (code, out) == (2, "")
    assert re.fullmatch(rf"turnstream: port {port} is taken: `turnstream up --port \d+`\n", err)
    assert not (tmp_path / "data").exists()


def test_doctor_without_a_service_fails_and_says_what_to_do(capsys, monkeypatch):
    monkeypatch.setenv("TURNSTREAM_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run(capsys, "doctor")
    assert code == 1
    assert "not ready at http://127.0.0.1:9: start it with `turnstream up`" in out
    assert f"{__version__} on Python" in out


def test_doctor_tells_weights_that_are_here_from_those_to_come(capsys, monkeypatch, tmp_path: Path):
    settings = {"CACHE_DIR": str(tmp_path), "HF_TOKEN": "", "TURNSTREAM_URL": "http://127.0.0.1:9", "COLUMNS": "200"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "arranged" / "other").mkdir(parents=True)
    (tmp_path / "arranged" / "other" / "config.yaml").write_text("")  # of another pipeline
    out = run(capsys, "doctor")[1]
    assert "speaker-diarization-community-1 is yet to be fetched (137 MB)" in out
    assert "faster-whisper-tiny.en is yet to be fetched (71 MB)" in out
    monkeypatch.setenv("DIARIZATION_MODEL", "somebody/else")
    assert "somebody/else is no directory here, and a model of the hub wants HF_TOKEN" in run(capsys, "doctor")[1]


WITHOUT = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Blocked())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name in {blocked!r} else find(name)
from turnstream import cli
sys.exit(cli.run({arguments!r}))
"""


@pytest.mark.parametrize(
    ("blocked", "arguments", "says"),
    [
        ({"typer", "rich"}, ["submit", "a.wav"], "this command wants the extra 'cli': pip install 'turnstream[cli]'"),
        ({"typer", "rich"}, [], "this command wants the extra 'cli': pip install 'turnstream[cli]'"),
        ({"typer", "rich"}, ["up"], "`turnstream up` wants the extra 'local': pip install 'turnstream[local]'"),
        ({"faust"}, ["demo"], "`turnstream demo` wants the extra 'local': pip install 'turnstream[local]'"),
    ],
)
def test_the_bare_script_says_which_extra_a_command_wants(blocked: set[str], arguments: list[str], says: str):
    program = WITHOUT.format(blocked=blocked, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"turnstream: {says}\n")


@pytest.mark.parametrize("module", ["turnstream.commands", "turnstream.client", "turnstream.submit", "turnstream.demo"])
def test_the_command_line_imports_nothing_heavy(module: str):
    program = f"import sys, {module}; print({{'torch', 'faust', 'numpy', 'confluent_kafka', 'av'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"
