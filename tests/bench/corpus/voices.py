"""Voices, and the lines each can say."""

import os
import random
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

from tests.bench.corpus import debian
from tests.bench.corpus.clips import Clip, clip, read_any, read_wav
from tests.bench.corpus.debian import SourceMissing

Say = Callable[[], Clip | None]
"""Makes one line; None where there is no voice in it."""

_NODS = 12
"""One line in so many, the shortest, are words to throw in."""


@dataclass(frozen=True, slots=True)
class Voice:
    name: str
    lines: Sequence[Say]
    nods: Sequence[Say]
    """Short ones, said while others speak."""


def voice(name: str, cache: Path) -> Voice:
    """By the names of recipes.py. Raises SourceMissing."""
    source, _, which = name.partition("-")
    if source == "flite":
        return _synthetic(name, which, cache)
    return _actor(name, source, which, cache)


def _actor(name: str, language: str, which: str, cache: Path) -> Voice:
    """One of the two actors of a language: their files are LEVEL/LANGUAGE/LEVEL-{m,v}-LINE.ogg."""
    package = {"cs": debian.CZECH, "nl": debian.DUTCH}[language]
    folder = debian.unpacked(package, cache) / "usr/share/games/fillets-ng/sound"
    files = sorted(folder.glob(f"*/{language}/*-{which}-*.ogg"), key=lambda path: (path.stat().st_size, path.name))
    if not files:
        raise SourceMissing(f"no lines of {name} in {package.name}")
    says = [partial(_recorded, path) for path in files]
    return Voice(name, says[len(says) // _NODS :], says[: len(says) // _NODS])


def _recorded(path: Path) -> Clip | None:
    return clip(read_any(path))


# Synthetic voices

_WHO = ("The committee", "My neighbour", "Our new colleague", "The engineer", "A friend of mine", "The whole village")
_DOES = ("never expected", "has finally found", "kept talking about", "would rather forget", "asked me to describe")
_WHAT = ("the old railway bridge", "a recipe for plum cake", "the results of the survey", "that noise in the cellar")
_WHEN = ("before the winter came.", "and nobody was surprised.", "while we waited for the bus.", "as far as I know.")
_NODDED = ("Yes.", "I see.", "Oh, really?", "Right.", "No way.", "Exactly.", "Hmm, maybe.", "Of course.")
_LINES = 120
_SPEAKS_WITHIN = 60


def _synthetic(name: str, which: str, cache: Path) -> Voice:
    program = debian.unpacked(debian.FLITE, cache) / "usr/bin/flite"
    [libraries] = (debian.unpacked(debian.LIBFLITE, cache) / "usr/lib").glob("*-linux-gnu")
    say = partial(_spoken, program, libraries, which, cache / "flite")
    try:
        say(_NODDED[0])
    except (OSError, subprocess.SubprocessError) as error:
        raise SourceMissing(f"flite does not run here: {error}") from error
    sentences = [" ".join(words) for words in product(_WHO, _DOES, _WHAT, _WHEN)]
    chosen = random.Random(name).sample(sentences, _LINES)  # noqa: S311
    return Voice(name, [partial(say, text) for text in chosen], [partial(say, text) for text in _NODDED])


def _spoken(program: Path, libraries: Path, which: str, cache: Path, text: str) -> Clip | None:
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{os.getpid()}.wav"
    command = [str(program), "-voice", which, "-t", text, "-o", str(path)]
    environment = {"LD_LIBRARY_PATH": str(libraries)}
    try:
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=_SPEAKS_WITHIN)
        samples, _ = read_wav(path)  # these voices speak at 16 kHz
    finally:
        path.unlink(missing_ok=True)
    return clip(samples)
