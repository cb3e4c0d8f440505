"""Every page does what it says: its commands and programs are run in their order, and answers are as it shows them.

tests/support/documents.py says how a page is written for this. Blocks that are not run here are listed as skipped, with the
reason.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import recordings
from tests.support.documents import Block, Page, pages
from tests.support.reader import Reader, translated
from tests.support.stack import CLEAN, Stack, running_stack
from turnstream.ports import free_port

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

READ = [page for page in pages() if any(block.executed for block in page.blocks)]
LEFT_OUT = [block for page in pages() for block in page.blocks if not block.executed]
SCRIPTED = {"ENGINE": "scripted"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """For all pages that want none of their own."""
    with running_stack(tmp_path_factory.mktemp("shared"), **SCRIPTED) as stack:
        yield stack


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.mark.parametrize("page", READ, ids=lambda page: page.name)
def test_a_page(page: Page, tmp_path: Path, opened: ExitStack, request: pytest.FixtureRequest):
    (folder := tmp_path / "folder").mkdir()
    for name in page.recordings:
        record(folder / name)
    kind, settings = page.stack
    addresses = {port: f"127.0.0.1:{free_port()}" for port in page.ports}
    env = SCRIPTED | {name: translated(value, addresses) for name, value in settings.items()}
    if kind in ("none", "own"):
        env |= {"DATA_DIR": "data", "PORT": addresses.setdefault("8000", "127.0.0.1:0").rpartition(":")[2]}
    else:
        alone = kind == "alone" or env != SCRIPTED
        stack: Stack = (
            opened.enter_context(running_stack(tmp_path, **env)) if alone else request.getfixturevalue("shared")
        )
        addresses |= {"8000": stack.url.removeprefix("http://"), "9092": stack.bootstrap}
        env |= {"DATA_DIR": str(stack.data_dir), "KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap}
    url, key = f"http://{addresses['8000']}", settings.get("API_KEY", "")
    env = CLEAN | env | {"TURNSTREAM_URL": url, "URL": url, "KEY": key}
    with Reader(folder, env, addresses, key) as reader:
        reader.type(page.before)
        for block in page.blocks:
            if block.executed:
                reader.read(block)


def record(path: Path) -> None:
    """A recording of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    recordings.encode(recordings.tone(1), recordings.SAMPLE_RATE, path.suffix.removeprefix("."), path)


@pytest.mark.parametrize("block", LEFT_OUT, ids=lambda block: block.where)
def test_a_block_that_is_not_run_here(block: Block):
    pytest.skip(block.excuse or f"{block.runner} runs it")
