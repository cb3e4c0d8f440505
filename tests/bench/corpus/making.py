"""From a recipe to a WAV file and its reference, kept in the user's cache directory."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tests.bench.corpus import sound
from tests.bench.corpus.clips import RATE, Clip, read_wav, write_wav
from tests.bench.corpus.conversation import Conversation, Progress, reference
from tests.bench.corpus.debian import CZECH, DUTCH, FLITE, LIBFLITE
from tests.bench.corpus.recipes import RECIPES, SAMPLE, Excerpt, Recipe
from tests.bench.corpus.reference import Spoken, read, to_rttm
from tests.bench.corpus.voices import Voice, voice
from turnstream.sample import sample
from turnstream.settings import Settings
from turnstream.weights.cache import cache_dir

Voices = Callable[[str], Voice]

_MADE_BY = ("clips.py", "conversation.py", "making.py", "sound.py", "voices.py")
_SOUNDS = (".wav", ".flac", ".opus", ".ogg")


@dataclass(frozen=True, slots=True)
class Recording:
    """A file of the set."""

    name: str
    audio: Path
    rttm: Path

    def turns(self) -> list[Spoken]:
        return read(self.rttm)


def home() -> Path:
    return cache_dir(Settings()) / "bench"


def ready(folder: Path, names: list[str] | None = None) -> list[Recording]:
    """The recordings in a folder that have a reference beside them, all or those that are named."""
    found = [
        Recording(path.stem, path, path.with_suffix(".rttm"))
        for path in sorted(folder.iterdir())
        if path.suffix in _SOUNDS and path.with_suffix(".rttm").exists()
    ]
    if missing := set(names or ()) - {recording.name for recording in found}:
        raise FileNotFoundError(f"{folder} has no recording with a reference named {', '.join(sorted(missing))}")
    return [recording for recording in found if not names or recording.name in names]


def make(name: str, progress: Progress = lambda _: None, cache: Path | None = None) -> Recording:
    """The recording of that name, as it was made before or anew. Raises SourceMissing, and KeyError for no such name."""
    if name == SAMPLE:
        return Recording(SAMPLE, sample("sample.wav"), sample("sample.rttm"))
    cache = cache or home()
    recipe = RECIPES[name]
    stem = cache / "corpus" / f"{name}-{fingerprint(recipe)[:12]}"
    recording = Recording(name, stem.with_suffix(".wav"), stem.with_suffix(".rttm"))
    if not recording.rttm.exists():  # which is written last
        stem.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(recipe, Excerpt):
            _excerpt(recipe, make(recipe.of, progress, cache), recording)
        else:
            _conversation(recipe, partial(voice, cache=cache / "voices"), recording, progress)
    return recording


def fingerprint(recipe: Recipe | Excerpt) -> str:
    """Of all that decides the bytes: the recipe, the sources and the code."""
    digest = hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode())
    if isinstance(recipe, Excerpt):
        digest.update(fingerprint(RECIPES[recipe.of]).encode())
    for package in (CZECH, DUTCH, FLITE, LIBFLITE):
        digest.update(package.sha256.encode())
    for module in _MADE_BY:
        digest.update((Path(__file__).parent / module).read_bytes())
    return digest.hexdigest()


def copy(recording: Recording, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(recording.audio, folder / f"{recording.name}.wav")
    shutil.copyfile(recording.rttm, folder / f"{recording.name}.rttm")


def _conversation(recipe: Recipe, voices: Voices, recording: Recording, progress: Progress) -> None:
    seed = int.from_bytes(hashlib.sha256(recipe.name.encode()).digest()[:8])
    random = np.random.default_rng(seed)
    cast: Mapping[str, Voice] = {name: voices(name) for name in recipe.voices}
    placed = Conversation(recipe, cast, random).hold(progress)
    echoes = {name: sound.echo(recipe.reverberation, random) for name in cast} if recipe.reverberation else {}
    mix, rate = sound.mixed(placed, recipe.seconds, echoes), RATE
    if recipe.babble is not None:
        mix = sound.babble(mix, _chatter([voices(name) for name in recipe.babblers], random), recipe.babble)
    if recipe.white is not None:
        mix = sound.white(mix, recipe.white, random)
    if recipe.telephone:
        mix, rate = sound.telephone(mix)
    _write(recording, sound.as_int16(mix), rate, reference(placed, recipe.seconds))


def _chatter(voices: list[Voice], random: np.random.Generator) -> Iterator[Clip]:
    while True:
        lines = voices[random.integers(len(voices))].lines
        if (clip := lines[random.integers(len(lines))]()) is not None:
            yield clip


def _excerpt(recipe: Excerpt, whole: Recording, recording: Recording) -> None:
    samples, rate = read_wav(whole.audio)
    length, wanted = len(samples) / rate, round(recipe.seconds * rate)
    turns = [
        Spoken(speaker, start + again * length, min(end + again * length, recipe.seconds))
        for again in range(-(-wanted // len(samples)))
        for speaker, start, end in whole.turns()
        if start + again * length < recipe.seconds - 0.001
    ]
    _write(recording, np.resize(np.rint(samples * 32768).astype(np.int16), wanted), rate, turns)


def _write(recording: Recording, samples: np.ndarray, rate: int, turns: list[Spoken]) -> None:
    for path, write in (
        (recording.audio, lambda path: write_wav(path, samples, rate)),
        (recording.rttm, lambda path: path.write_text(to_rttm(turns, recording.name))),
    ):
        part = path.with_name(f".{path.name}.{os.getpid()}")
        write(part)
        part.replace(path)
