"""Pages of documentation, and how each of their code blocks is executed.

Most blocks need no mark; the language says it:

    sh            each command is typed into the page's shell, one after the other, and must succeed
    python        a program: it is run, and must succeed
    json          the shape of what the last command or program printed: keys and types; `code` and `status` to the letter
    text          what it printed, or said on standard error instead, to the letter; ... stands for anything

Words after the language say it where that is not enough:

    file=PATH         a file that later commands use; any language
    background=TEXT   what lasts: it is ready when it printed TEXT, and is ended with the page
    exit=N            ends with this exit code
    problem           the service answers with a problem
    at-once           the next command does not wait until the jobs that were asked for have ended

A comment before the block says why the test does not run it, or which one does:

    <!-- not run: there is no Docker on every machine that runs the tests -->
    <!-- run by tests/e2e/test_demo.py -->

Comments anywhere say what a page stands on. `<!-- stack: none -->`; `own`: the page starts it; `alone`: one that no other page
uses; else one for many pages. Then its settings, such as `<!-- stack: alone RETRY_DELAYS=0,0,0 -->`.
`<!-- files: a/monday.wav -->` are recordings that are there, beside those which a command names without a folder. What follows
`<!-- before` is typed before the rest, and may fail.
"""

import re
import shlex
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
EXECUTED = {"sh", "python", "json", "text"}
"""Languages that need no mark."""
WORDS, FLAGS = {"file", "background", "exit"}, {"problem", "at-once"}
LOCAL = re.compile(r"\b(?:127\.0\.0\.1|localhost):(\d{4,5})\b")
"""An address on this machine, by its port."""
_EXCUSE = re.compile(r"\s*<!--\s*(not run:|run by)\s+(.*?)\s*-->\s*", re.DOTALL)
_COMMENT = re.compile(r"<!--\s*(stack:|files:|before\b)(.*?)-->", re.DOTALL)
_MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str
    marks: dict[str, str] = field(default_factory=dict)
    """Words after the language; those without a value have an empty one."""
    excuse: str = ""
    """Why it is not run."""
    runner: str = ""
    """The test that runs it, by its path."""

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def executed(self) -> bool:
        return not (self.excuse or self.runner)

    @property
    def fault(self) -> str:
        """What is wrong with how it is marked; empty if nothing is."""
        unknown = self.marks.keys() - WORDS - FLAGS
        if self.language == "indented":
            return "is indented: fence it and say its language"
        if unknown:
            return f"has words that mean nothing: {', '.join(sorted(unknown))}"
        if self.runner and not _tells_of(ROOT / self.runner, self.page):
            return f"is left to {self.runner}, which is not there or does not name the page"
        if self.executed and self.language not in EXECUTED and "file" not in self.marks:
            return f"is neither executed nor excused: nobody runs {self.language or 'a block without a language'}"
        return ""


def _tells_of(test: Path, page: str) -> bool:
    return test.is_file() and Path(page).name in test.read_text()


@dataclass(frozen=True)
class Page:
    path: Path
    name: str
    """Relative to the repository."""
    text: str

    @cached_property
    def tokens(self) -> list[Token]:
        return _MARKDOWN.parse(self.text)

    @cached_property
    def blocks(self) -> list[Block]:
        found: list[Block] = []
        before = ""
        for token in self.tokens:
            if token.type in ("fence", "code_block"):
                found.append(_block(self.name, token, before))
            if not token.type.endswith("_close"):
                before = token.content if token.type == "html_block" else ""
        return found

    @property
    def stack(self) -> tuple[str, dict[str, str]]:
        """Its kind (shared, alone, own or none), and the settings that it wants."""
        kind, env = "shared", {}
        for word in shlex.split(self._comments("stack:")):
            name, equals, value = word.partition("=")
            if equals:
                env[name] = value
            else:
                kind = name
        return kind, env

    @property
    def recordings(self) -> list[str]:
        """Those that are there before it is read."""
        named = re.findall(r"(?<![\w/.-])(\w[\w.-]*\.(?:wav|mp3|m4a|flac))\b", self._executed)
        return sorted({*named, *self._comments("files:").split()})

    @property
    def ports(self) -> set[str]:
        """Of the addresses on this machine that it names."""
        return set(LOCAL.findall(f"{self._executed}\n{self._comments('stack:')}"))

    @property
    def _executed(self) -> str:
        return "\n".join([self.before, *(block.text for block in self.blocks if block.executed)])

    @property
    def before(self) -> str:
        return self._comments("before")

    @property
    def links(self) -> list[str]:
        inline = [child for token in self.tokens for child in token.children or []]
        targets = [token.attrGet("href") or token.attrGet("src") for token in inline]
        return [str(target) for target in targets if target]

    @property
    def anchors(self) -> set[str]:
        """Of its headings, as GitHub makes them."""
        seen: dict[str, int] = {}
        found: set[str] = set()
        for heading, text in zip(self.tokens, self.tokens[1:], strict=False):
            if heading.type == "heading_open":
                said = "".join(child.content for child in text.children or [])
                slug = re.sub(r"[^\w\- ]", "", said.lower()).replace(" ", "-")
                count = seen[slug] = seen.get(slug, -1) + 1
                found.add(f"{slug}-{count}" if count else slug)
        return found

    def _comments(self, word: str) -> str:
        told = (match[2].strip() for match in _COMMENT.finditer(self.text) if match[1] == word)
        return ("\n" if word == "before" else " ").join(told)


def _block(page: str, token: Token, before: str) -> Block:
    line = token.map[0] + 1 if token.map else 0
    if token.type == "code_block":
        return Block(page, line, "indented", token.content)
    language, *words = shlex.split(token.info) or [""]
    marks = {name: value for name, _, value in (word.partition("=") for word in words)}
    excuse = _EXCUSE.fullmatch(before)
    reason, runner = (excuse[2], "") if excuse and excuse[1] == "not run:" else ("", excuse[2] if excuse else "")
    return Block(page, line, language, token.content, marks, reason, runner)


def page(path: Path) -> Page:
    return Page(path, str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name, path.read_text())


def pages() -> list[Page]:
    """All that people read: the pages at the top, and everything under docs/."""
    return [page(path) for path in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]]
