"""The set's conversations: exact references, the same bytes each time, whatever the recipe."""

from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.corpus import making, sound
from tests.bench.corpus.clips import RATE, Clip, clip, read_wav, voiced, write_wav
from tests.bench.corpus.conversation import Conversation, Placed, reference
from tests.bench.corpus.making import Recording
from tests.bench.corpus.recipes import GATING, LONG, RECIPES, SAMPLE, Excerpt, Recipe
from tests.bench.corpus.reference import Spoken, from_rttm, read, to_rttm
from tests.bench.corpus.voices import Voice

unhurried = settings(deadline=None, max_examples=25)


def hum(seconds: float, hertz: float = 200.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


def a_line(seconds: float, hertz: float) -> Clip | None:
    return clip(hum(seconds, hertz))


def humming(name: str) -> Voice:
    """Each voice hums at a height of its own."""
    hertz = 150.0 + 50 * sum(name.encode()) % 400
    return Voice(
        name,
        [partial(a_line, seconds, hertz) for seconds in (0.5, 1.0, 1.5, 3.0)],
        [partial(a_line, 0.3, hertz)],
    )


def conversation(recipe: Recipe) -> list[Placed]:
    cast = {name: humming(name) for name in recipe.voices}
    return Conversation(recipe, cast, np.random.default_rng(1)).hold(lambda _: None)


def recipes() -> st.SearchStrategy[Recipe]:
    return st.builds(
        Recipe,
        name=st.just("any"),
        seconds=st.integers(5, 60).map(float),
        voices=st.sampled_from(["a", "ab", "abc", "abcdefgh"]).map(tuple),
        overlap=st.floats(0, 0.3),
        nods=st.floats(0, 1),
    )


@given(recipes())
@unhurried
def test_nobody_speaks_over_himself(recipe: Recipe) -> None:
    placed = conversation(recipe)
    for name in recipe.voices:
        own = sorted((line for line in placed if line.voice == name), key=lambda line: line.at)
        assert all(before.end <= after.at for before, after in pairwise(own))


@given(recipes())
@unhurried
def test_the_reference_stays_within_the_recording_and_holds_every_line(recipe: Recipe) -> None:
    placed = conversation(recipe)
    turns = reference(placed, recipe.seconds)
    assert all(0 <= turn.start < turn.end <= recipe.seconds for turn in turns)
    heard = {line.voice for line in placed if line.at < recipe.seconds - 0.001}
    assert {turn.speaker for turn in turns} == heard


@given(recipes())
@unhurried
def test_the_mix_is_silent_where_nobody_speaks(recipe: Recipe) -> None:
    placed = conversation(recipe)
    mix = sound.mixed(placed, recipe.seconds, {})
    rounding = 2 * RATE // 1000
    for turn in reference(placed, recipe.seconds):
        mix[max(0, round(turn.start * RATE) - rounding) : round(turn.end * RATE) + rounding] = 0
    assert not mix[:-rounding].any()


def test_overlap_comes_near_to_what_the_recipe_says() -> None:
    placed = conversation(Recipe(name="any", seconds=600, voices=("a", "b", "c"), overlap=0.1))
    speaking = np.zeros(600 * 100, int)
    for turn in reference(placed, 600):
        speaking[round(turn.start * 100) : round(turn.end * 100)] += 1
    share = (speaking >= 2).sum() / (speaking >= 1).sum()
    assert 0.07 < share < 0.13


@given(st.floats(0.1, 1.0), st.floats(0.3, 2.0), st.floats(0.4, 1.0), st.floats(0.3, 2.0), st.floats(0.1, 1.0))
@unhurried
def test_a_clip_is_trimmed_to_its_voice(before: float, first: float, pause: float, second: float, after: float) -> None:
    parts = [hum(before) * 0, hum(first), hum(pause) * 0, hum(second), hum(after) * 0]
    samples = np.concatenate(parts)
    hop = RATE // 100
    spans = voiced(samples)
    ends = np.cumsum([len(part) for part in parts])
    assert np.allclose(spans, [(ends[0], ends[1]), (ends[2], ends[3])], atol=hop)
    cut = clip(samples)
    assert cut is not None
    assert cut.active[0][0] <= 0.1 * RATE
    assert len(cut.samples) - cut.active[-1][1] <= 0.2 * RATE
    assert np.allclose(np.diff(cut.active), np.diff(spans))


def test_a_clip_without_voice_is_none() -> None:
    assert clip(np.zeros(RATE, np.float32)) is None
    assert clip(np.zeros(0, np.float32)) is None


@given(
    st.lists(
        st.builds(
            lambda speaker, start, length: Spoken(speaker, start / 1000, (start + length) / 1000),
            st.sampled_from(["a", "b"]),
            st.integers(0, 10**7),
            st.integers(1, 10**5),
        )
    )
)
def test_rttm_keeps_milliseconds(turns: list[Spoken]) -> None:
    found = from_rttm(to_rttm(turns, "x"))
    assert [turn.speaker for turn in found] == [turn.speaker for turn in sorted(turns, key=_as_written)]
    assert np.allclose([turn[1:] for turn in found], [turn[1:] for turn in sorted(turns, key=_as_written)], atol=1e-6)


def _as_written(turn: Spoken) -> tuple[float, float, str]:
    return turn.start, turn.end, turn.speaker


@pytest.mark.parametrize("decibels", [0.0, 10.0, 20.0])
def test_noise_is_as_loud_as_the_recipe_says(decibels: float) -> None:
    mix = hum(2) * 0.1
    noise = sound.white(mix, decibels, np.random.default_rng(1)) - mix
    assert 10 * np.log10(np.mean(mix**2) / np.mean(noise**2)) == pytest.approx(decibels, abs=0.2)


def test_a_telephone_keeps_the_middle_of_the_band() -> None:
    for hertz, kept in ((1000.0, True), (60.0, False), (7000.0, False)):
        heard, rate = sound.telephone(hum(1, 1000.0) + hum(1, hertz))
        spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
        assert rate == 8000
        low = spectrum[round(hertz) if hertz < 4000 else -10] / spectrum[1000]
        assert (low > 0.5) == kept


def test_an_echo_falls_by_60_decibels_and_keeps_the_direct_sound_first() -> None:
    response = sound.echo(0.5, np.random.default_rng(1))
    assert np.argmax(np.abs(response)) == 0
    early, late = response[100:900], response[-800:]
    assert 20 * np.log10(np.std(early) / np.std(late)) == pytest.approx(60 * 0.45 / 0.5, abs=4)


def test_a_recording_is_made_once_and_the_same_bytes_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(name="tiny", seconds=6, voices=("a", "b"), white=20, reverberation=0.3)
    monkeypatch.setitem(RECIPES, "tiny", recipe)
    monkeypatch.setitem(RECIPES, "tiny-twice", Excerpt(name="tiny-twice", seconds=9, of="tiny"))
    monkeypatch.setattr(making, "voice", lambda name, cache: humming(name))
    first, again, other = (making.make("tiny", cache=tmp_path / folder) for folder in ("one", "one", "two"))
    assert first == again
    assert first.audio.read_bytes() == other.audio.read_bytes()
    assert first.rttm.read_bytes() == other.rttm.read_bytes()
    twice = making.make("tiny-twice", cache=tmp_path / "one")
    once, long = read_wav(first.audio)[0], read_wav(twice.audio)[0]
    assert np.array_equal(long, np.concatenate([once, once[: len(once) // 2]]))
    assert [turn for turn in read(twice.rttm) if turn.end <= 6][: len(read(first.rttm))] == read(first.rttm)


def test_a_ready_folder_is_read_as_it_is(tmp_path: Path) -> None:
    write_wav(tmp_path / "b.wav", np.zeros(16, np.int16), RATE)
    write_wav(tmp_path / "no-reference.wav", np.zeros(16, np.int16), RATE)
    (tmp_path / "b.rttm").write_text(to_rttm([Spoken("x", 0, 1)], "b"))
    assert making.ready(tmp_path) == [Recording("b", tmp_path / "b.wav", tmp_path / "b.rttm")]
    with pytest.raises(FileNotFoundError, match="no-reference"):
        making.ready(tmp_path, ["b", "no-reference"])


def test_names_are_one_for_each_recording_and_the_gating_set_is_short() -> None:
    assert len({SAMPLE, *RECIPES}) == 1 + len(GATING) + len(LONG)
    assert sum(recipe.seconds for recipe in GATING) <= 25 * 60
