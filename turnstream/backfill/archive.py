"""The recordings of an archive, one after the other: of a directory, or of a list of paths. Never all of them in memory."""

import os
import sys
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import TextIO

from schemas.errors import FileUnusable
from turnstream.backfill.names import is_ours

STDIN = Path("-")


@dataclass(frozen=True, slots=True)
class Recording:
    path: Path
    name: PurePath
    """Where it is in the archive: its results have the same place in another folder."""
    fault: str = ""
    """Why it cannot be read, where that is known."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which files of a directory are meant. A list means what it says."""

    globs: Sequence[str] = ()
    """Patterns for the name, or where they have a slash for the path in the archive; none: every file."""
    extensions: Sequence[str] = ()
    """Such as mp3, in any case of letters; none: all of them."""

    def takes(self, name: PurePath) -> bool:
        suffix = name.suffix.removeprefix(".").lower()
        if self.extensions and suffix not in {each.removeprefix(".").lower() for each in self.extensions}:
            return False
        return not self.globs or any(
            fnmatchcase(name.as_posix() if "/" in each else name.name, each) for each in self.globs
        )


class Archive:
    """A directory with all that lies below it, or a list of paths. Raises FileUnusable where there is neither."""

    def __init__(self, source: Path, choice: Choice | None = None, *, leave_out: Collection[Path] = ()) -> None:
        if source != STDIN and not source.exists():
            raise FileUnusable(f"there is no {source}: name a folder of recordings, or a file that lists them")
        self._source = source
        self._choice = choice or Choice()
        self._left_out = {path.absolute() for path in leave_out}
        self.folder = source.absolute() if source.is_dir() else Path() if source == STDIN else source.absolute().parent
        """Where its results are noted, and what the paths of a list start from."""
        self.read_once = source == STDIN
        """Whether it cannot be looked through a second time, to count."""

    def recordings(self) -> Iterator[Recording]:
        """Files whose name begins with a dot, folders of that kind, our own results and what `leave_out` names are passed over.
        A folder that cannot be read comes as if it were a recording, so that its failure is told; and so does what cannot be
        looked at.
        """
        return self._walk(self.folder) if self._source.is_dir() else self._listed()

    def _walk(self, folder: Path) -> Iterator[Recording]:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    yield from self._found(entry)
        except OSError as error:  # it may have begun well
            yield self._faulty(folder, error)

    def _found(self, entry: "os.DirEntry[str]") -> Iterator[Recording]:
        path = Path(entry.path)
        name = path.relative_to(self.folder)
        if entry.name.startswith(".") or path in self._left_out:
            return
        try:
            deeper = entry.is_dir(follow_symlinks=False)
            meant = not deeper and self._choice.takes(name) and entry.is_file() and not is_ours(path)
        except OSError as error:  # such as a link that leads to itself
            yield self._faulty(path, error)
            return
        if deeper:
            yield from self._walk(path)
        elif meant:
            yield Recording(path, name)

    def _faulty(self, path: Path, error: OSError) -> Recording:
        return Recording(path, path.relative_to(self.folder), error.strerror or str(error))

    def _listed(self) -> Iterator[Recording]:
        folder = self.folder.absolute()
        with _lines(self._source) as lines:
            for line in lines:
                text = line.strip("\r\n")
                if not text.strip() or text.lstrip().startswith("#"):
                    continue
                path = Path(os.path.normpath(folder / text))
                below = path.is_relative_to(folder)
                yield Recording(path, path.relative_to(folder if below else path.anchor))


@contextmanager
def _lines(source: Path) -> Generator[TextIO]:
    """Names of files are bytes on the disk: what is no text in them is kept as it is."""
    if source == STDIN:
        sys.stdin.reconfigure(errors="surrogateescape")  # pyright: ignore[reportAttributeAccessIssue] - a stream of text
        yield sys.stdin
        return
    try:
        opened = source.open(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise FileUnusable(f"{source}: {error.strerror}") from error
    with opened:
        yield opened


def count(archive: Archive, stopped: Callable[[], bool]) -> int | None:
    """How many recordings there are; None where it was stopped, or where that would read what can be read only once."""
    if archive.read_once:
        return None
    number = 0
    try:
        for _ in archive.recordings():
            if stopped():
                return None
            number += 1
    except FileUnusable:  # whoever works through it says so
        return None
    return number
