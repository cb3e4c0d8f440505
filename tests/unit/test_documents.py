"""What holds for every page: each of its blocks is executed or excused, and what it links to is there.

The blocks are executed by tests/e2e/test_documents.py; here are also the rules of that harness themselves.
"""

import os
import re
from pathlib import Path

import pytest

from tests.support.documents import ROOT, Page, page, pages
from tests.support.reader import Reader, assert_like, assert_reads, commands, document
from turnstream.settings import Settings

PAGES = pages()
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@each_page
def test_every_block_is_executed_or_excused(page: Page):
    assert [f"{block.where} {block.fault}" for block in page.blocks if block.fault] == []


@each_page
def test_what_it_links_to_is_there(page: Page):
    assert [link for link in page.links if "://" not in link and not there(page.path, link)] == []


def there(origin: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (origin.parent / path).resolve() if path else origin
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or anchor in page(target).anchors


@each_page
def test_a_file_that_it_shows_is_used(page: Page):
    executed = [block for block in page.blocks if block.executed]
    files = {block.marks["file"]: block for block in executed if "file" in block.marks}
    unused = [
        block.where
        for name, block in files.items()
        if not any(Path(name).name in other.text for other in executed if other is not block)
    ]
    assert unused == []


SETTINGS = {name.upper() for name in Settings.model_fields}
OF_COMPOSE = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
OF_IMAGES = set(re.findall(r"^ARG (\w+)", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE))
OTHERS = re.compile(r"TURNSTREAM_TEST_\w+|SSL_CERT_FILE|(CHANNEL_\d_)?SPEAKER_\d\d")
"""What looks like a setting and is none: variables of the tests and of OpenSSL, and what speakers are called."""


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.path.parent in (ROOT, ROOT / "docs")], ids=lambda page: page.name
)
def test_the_settings_that_it_names_are_there(page: Page):
    told = re.sub(r"^ *```.*?^ *```", "", page.text, flags=re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", told))
    unknown = {name for name in named - SETTINGS - OF_COMPOSE - OF_IMAGES if not OTHERS.fullmatch(name)}
    assert unknown == set()


def test_every_page_is_in_the_index():
    index = page(ROOT / "docs" / "README.md")
    linked = {(index.path.parent / link.partition("#")[0]).resolve() for link in index.links}
    folders = {path.parent for path in linked if path.name == "README.md"} | {path for path in linked if path.is_dir()}
    told = [each for each in PAGES if each.path in linked or each.path.parent in folders - {index.path.parent}]
    under_docs = {each.name for each in PAGES if each.name.startswith("docs/")} - {index.name}
    assert under_docs - {each.name for each in told} == set()


def written(folder: Path, text: str) -> Page:
    (folder / "page.md").write_text(text)
    return page(folder / "page.md")


def faults(folder: Path, text: str) -> list[str]:
    return [block.fault for block in written(folder, text).blocks]


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ("```\nls\n```", "nobody runs a block without a language"),
        ("```java\nclass A {}\n```", "nobody runs java"),
        ("```sh quickly\nls\n```", "mean nothing: quickly"),
        ("text\n\n    ls\n", "is indented"),
        ("<!-- run by tests/e2e/test_nothing.py -->\n```sh\nls\n```", "is not there or does not name the page"),
        ("<!-- run by tests/conftest.py -->\n```sh\nls\n```", "is not there or does not name the page"),
        ("<!-- not run: -->\n```java\nclass A {}\n```", "nobody runs java"),
        ("<!-- not run: too long -->\n\ntext\n\n```java\nclass A {}\n```", "nobody runs java"),
    ],
)
def test_a_block_nobody_runs_is_found(tmp_path: Path, block: str, says: str):
    [fault] = faults(tmp_path, block)
    assert says in fault


def test_a_block_that_somebody_runs_is_in_order(tmp_path: Path):
    text = (
        "<!-- not run: wants\na GPU -->\n```java\n```\n\n"
        "```java file=A.java\nclass A {}\n```\n\n```sh exit=2 at-once\nls\n```\n"
    )
    first, second, third = written(tmp_path, text).blocks
    assert (first.fault, second.fault, third.fault) == ("", "", "")
    assert (first.excuse, first.executed, second.marks["file"], third.marks["exit"]) == (
        "wants\na GPU",
        False,
        "A.java",
        "2",
    )


def test_what_a_page_stands_on(tmp_path: Path):
    text = (
        "<!-- stack: own A=1 B='x y' -->\n<!-- files: a/one.wav -->\n<!-- before\nturnstream submit first.mp3\n-->\n"
        "```sh\nturnstream submit talk.mp3 --out b/no.wav --url http://127.0.0.1:8000\n```\n"
    )
    told = written(tmp_path, text)
    assert told.stack == ("own", {"A": "1", "B": "x y"})
    assert told.recordings == ["a/one.wav", "first.mp3", "talk.mp3"]
    assert (told.before, told.ports) == ("turnstream submit first.mp3", {"8000"})


def test_anchors_are_those_of_github(tmp_path: Path):
    told = written(tmp_path, "# What `turnstream up` does, exactly?\n\n## Two\n\n## Two\n\n### Snake_case & more\n")
    assert told.anchors == {"what-turnstream-up-does-exactly", "two", "two-1", "snake_case--more"}


def test_a_block_is_taken_apart_into_commands():
    text = "# a comment\none \\\n  --two\n\nfor n in 1 2; do\n  echo $n\ndone\ncat <<END\nin\nEND\nlast | pipe\n"
    assert list(commands(text)) == [
        "one \\\n  --two",
        "for n in 1 2; do\n  echo $n\ndone",
        "cat <<END\nin\nEND",
        "last | pipe",
    ]
    with pytest.raises(AssertionError, match="not a command"):
        list(commands("echo 'open"))


@pytest.fixture
def reader(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    with Reader(tmp_path / "folder", {}, {"9000": "127.0.0.1:4711"}) as reader:
        yield reader


def read(reader: Reader, folder: Path, text: str) -> None:
    for block in written(folder, text).blocks:
        reader.read(block)


def test_a_page_is_read_in_one_shell(reader: Reader, tmp_path: Path):
    text = (
        "```sh\nmkdir -p a && cd a\nNAME=turn\n```\n```sh\necho $NAME at localhost:9000\n```\n"
        "```text\nturn at 127.0.0.1:9000\n```\n"
        '```python\nprint(\'{"code": 1, "more": [2.5]}\')\n```\n```json\n{"code": 1, "more": [1]}\n```\n'
        "```toml file=b/c.toml\nx = 1\n```\n```sh\ncat ../b/c.toml\n```\n```text\nx ... 1\n```\n"
        "```sh exit=3\n(exit 3)\n```\n"
    )
    read(reader, tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "```sh\nfalse\ntrue\n```",
        "```sh exit=1\ntrue\n```",
        "```python\nraise SystemExit(1)\n```",
        "```sh\necho urn:turnstream:problem:busy\n```",
        "```sh problem\necho fine\n```",
        "```sh\necho one two\n```\n```text\none\n```",
        "```sh\necho '{}'\n```\n```json\n{\"code\": 1}\n```",
    ],
)
def test_a_page_that_says_what_is_not_so_fails(reader: Reader, tmp_path: Path, text: str):
    with pytest.raises(AssertionError):
        read(reader, tmp_path, text)


def test_what_lasts_is_waited_for_and_ended_with_the_page(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    with Reader(tmp_path / "folder", {}, {}) as reader:
        read(reader, tmp_path, "```sh background=ready\necho $BASHPID > pid; echo ready; exec sleep 600\n```\n")
        pid = int((tmp_path / "folder" / "pid").read_text())
        read(reader, tmp_path, f"```sh\nkill -0 {pid}\n```\n")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_ends_before_it_is_ready_fails(reader: Reader, tmp_path: Path):
    with pytest.raises(AssertionError, match="ended before it said 'ready'"):
        read(reader, tmp_path, "```sh background=ready\necho no\n```\n")


@pytest.mark.parametrize(
    ("shown", "got"),
    [
        ({"a": 1}, {"a": 1.5, "b": 0}),
        ([], [1]),
        ([{"a": ""}], [{"a": "x"}, {}]),
        (None, None),
        ({"code": "a"}, {"code": "a"}),
    ],
)
def test_an_answer_may_have_more_than_is_shown(shown: object, got: object):
    assert_like(shown, got, "page.md:1")


@pytest.mark.parametrize(
    ("shown", "got"),
    [({"a": 1}, {}), ({"a": 1}, {"a": "1"}), ([1], []), (None, 1), (True, "x"), ({"code": "a"}, {"code": "b"})],
)
def test_an_answer_that_lacks_what_is_shown(shown: object, got: object):
    with pytest.raises(AssertionError):
        assert_like(shown, got, "page.md:1")


def test_what_a_program_printed():
    assert_reads("a ... c\n...\nend\n", "a b c\nmore\nand more\nend\n", "page.md:1")
    with pytest.raises(AssertionError):
        assert_reads("a ... c\n", "a b c d\n", "page.md:1")


def test_json_after_headers():
    assert document('HTTP/1.1 200 OK\r\ndate: now\r\n\r\n{"a": [1]}') == {"a": [1]}
    with pytest.raises(ValueError, match="Expecting"):
        document("nothing")
