"""Turns from what the networks said: those of upstream's own code, whatever was said."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processor.engines.diarize import reconstruction, risk, speakers, steps
from processor.engines.diarize.analysis import Analysis
from processor.engines.diarize.clustering import BOUNDS_MISSED, Turn, Turns, cluster, survey
from processor.engines.diarize.linkage import centroid_linkage
from processor.engines.diarize.quiet import quiet
from processor.engines.diarize.risk import risky
from processor.engines.diarize.speakers import Clusters
from processor.engines.diarize.vbx import responsibilities
from schemas.errors import InvalidRequest, JobCancelled
from schemas.jobs import DiarizeParams
from tests.support.analyses import AGGLOMERATIVE, VBX, Conversation, Stock, noise, plda, turns

pytestmark = pytest.mark.filterwarnings("ignore")  # stock runs in this process, too


@pytest.fixture(scope="module")
def vbx_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Stock]:
    known: dict[int, Stock] = {}

    def made(dimension: int) -> Stock:
        if dimension not in known:
            known[dimension] = Stock("VBxClustering", VBX, plda(tmp_path_factory.mktemp("plda"), dimension))
        return known[dimension]

    return made


@pytest.fixture(scope="module")
def agglomerative() -> Stock:
    return Stock("AgglomerativeClustering", AGGLOMERATIVE)


def plain(ours: list[Turn]) -> list[Turn]:
    return [replace(turn, confidence=None) for turn in ours]


def assert_stocks(stock: Stock, analysis: Analysis, params: DiarizeParams) -> Turns:
    """With and without bounds, as long as stock has an answer."""
    bounds = {name: getattr(params, name) for name in ("num_speakers", "min_speakers", "max_speakers")}
    ours = cluster(stock.steps(), analysis, params)
    with quiet:
        try:
            theirs = stock.output(analysis, **bounds)
        except ValueError:
            return ours  # more speakers than voices: a test of its own
    assert plain(ours.turns) == turns(theirs.speaker_diarization)
    assert plain(ours.exclusive) == turns(theirs.exclusive_speaker_diarization)
    assert ours.speakers == theirs.speaker_diarization.labels()
    assert ours.embeddings is not None
    known = ~np.isnan(ours.embeddings).any(axis=1)
    np.testing.assert_allclose(ours.embeddings[known], theirs.speaker_embeddings[known], atol=1e-6)
    assert all(0 <= turn.confidence <= 1 for turn in [*ours.turns, *ours.exclusive] if turn.confidence is not None)
    return ours


conversations = st.builds(
    Conversation,
    windows=st.integers(1, 60),
    speakers=st.integers(1, 6),
    seed=st.integers(0, 10_000),
    dimension=st.sampled_from([16, 256]),
    spread=st.sampled_from([0.0, 0.3, 0.6, 1.2]),
).map(Conversation.analysis)
nonsense = st.builds(noise, windows=st.integers(1, 12), seed=st.integers(0, 10_000), dimension=st.just(16))
bounds = st.one_of(
    st.just(DiarizeParams()),
    st.builds(DiarizeParams, num_speakers=st.integers(1, 5)),
    st.builds(DiarizeParams, min_speakers=st.integers(1, 6)),
    st.builds(DiarizeParams, max_speakers=st.integers(1, 3)),
    st.builds(DiarizeParams, min_speakers=st.integers(1, 2), max_speakers=st.integers(2, 3)),
)
many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(st.one_of(conversations, nonsense), bounds)
def test_turns_after_vbx(vbx_of: Callable[[int], Stock], analysis: Analysis, params: DiarizeParams):
    assert_stocks(vbx_of(analysis.vectors.shape[2]), analysis, params)


@many
@given(st.one_of(conversations, nonsense), bounds)
def test_turns_after_agglomerative_clustering(agglomerative: Stock, analysis: Analysis, params: DiarizeParams):
    assert_stocks(agglomerative, analysis, params)


@many
@given(
    conversations,
    st.sampled_from([None, 0.0, 0.2, 0.5, 2.0]),
    st.sampled_from([0.0, 0.1, 0.4, 3.0]),
    st.sampled_from([0.0, 0.3]),
)
def test_gaps_and_short_turns_are_upstreams(
    agglomerative: Stock, analysis: Analysis, off: float | None, on: float, own: float
):
    steps = replace(agglomerative.steps(), min_duration_off=own)
    ours = cluster(steps, analysis, DiarizeParams(min_duration_on=on, min_duration_off=off))
    binarize = Stock.to_annotation
    offs = iter([own if off is None else off, own])  # of the turns, and of the exclusive ones
    with pytest.MonkeyPatch.context() as patch, quiet:
        patch.setattr(Stock, "to_annotation", staticmethod(lambda scores, **_: binarize(scores, on, next(offs))))
        theirs = agglomerative.output(analysis)
    assert plain(ours.turns) == turns(theirs.speaker_diarization)
    assert plain(ours.exclusive) == turns(theirs.exclusive_speaker_diarization)
    assert ours.speakers == theirs.speaker_diarization.labels()


def test_the_way_of_long_recordings_finds_the_turns_of_stock(vbx_of: Callable[[int], Stock]):
    """Blocks of windows and of vectors as small as they may be, and no square of distances."""
    analysis = Conversation(windows=150, speakers=4, seed=5).analysis()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reconstruction, "_WINDOWS", 7)
        patch.setattr(speakers, "centroid_linkage", partial(centroid_linkage, exactly_up_to=1, square_up_to=1))
        patch.setattr(speakers, "responsibilities", partial(responsibilities, upstream_up_to=0))
        for params in (DiarizeParams(), DiarizeParams(num_speakers=3)):
            assert_stocks(vbx_of(256), analysis, params)


def test_more_speakers_than_voices(vbx_of: Callable[[int], Stock]):
    """Stock raises here; whoever asks for too much gets what there is, and is told."""
    stock, analysis = vbx_of(256), Conversation(windows=15, speakers=2, seed=1).analysis()
    with pytest.raises(ValueError, match="n_clusters=40"):
        stock.output(analysis, num_speakers=40)
    found = cluster(stock.steps(), analysis, DiarizeParams(num_speakers=40))
    assert 2 <= len(found.speakers) < 40
    assert found.warnings == [BOUNDS_MISSED]


@pytest.mark.parametrize("lost", [np.nan, np.inf, 0.0])
@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("clustering", ["vbx", "agglomerative"])
def test_vectors_without_a_direction(
    vbx_of: Callable[[int], Stock], agglomerative: Stock, clustering: str, share: float, lost: float
):
    stock = vbx_of(256) if clustering == "vbx" else agglomerative
    analysis = Conversation(windows=30, speakers=3, seed=2).analysis()
    analysis.vectors[np.random.default_rng(1).random(analysis.vectors.shape[:2]) < share] = lost
    found = cluster(stock.steps(), analysis, DiarizeParams())
    assert found.turns
    assert all(np.isfinite((turn.start, turn.end, turn.confidence)).all() for turn in found.turns + found.exclusive)
    assert found.embeddings is not None
    assert np.isfinite(found.embeddings).all() == (share < 1)


@pytest.mark.parametrize("windows", [0, 1, 2, 40])
def test_nobody_speaks(vbx_of: Callable[[int], Stock], windows: int):
    found = cluster(vbx_of(256).steps(), Analysis.blank(windows, 589, 3, 256), DiarizeParams())
    assert (found.turns, found.exclusive, found.speakers) == ([], [], [])
    assert found.embeddings is not None
    assert found.embeddings.shape == (0, 256)


def test_a_word_alone_has_turns_and_no_embedding(vbx_of: Callable[[int], Stock]):
    """Too short a speech for any vector to be clustered."""
    analysis = Analysis.blank(1, 589, 3, 256)
    analysis.activity[0, 10:40, 1] = 1
    found = cluster(vbx_of(256).steps(), analysis, DiarizeParams())
    assert found.speakers == ["SPEAKER_00"]
    assert [turn.confidence for turn in found.turns] == [1.0]
    assert found.embeddings is not None
    assert np.isnan(found.embeddings).all()


def test_it_ends_when_cancelled(vbx_of: Callable[[int], Stock]):
    analysis = Conversation(windows=30, speakers=3, seed=2).analysis()
    seen = 0

    def cancelled(after: int) -> bool:
        nonlocal seen
        seen += 1
        return seen > after

    for after in range(3):  # before, in the clustering, and after it
        seen = 0
        with pytest.raises(JobCancelled):
            cluster(vbx_of(256).steps(), analysis, DiarizeParams(), lambda: cancelled(after))  # noqa: B023


def test_a_way_of_clustering_that_wants_a_number(agglomerative: Stock):
    analysis = Conversation(windows=30, speakers=3, seed=2).analysis()
    stock = Stock("KMeansClustering", {})
    with pytest.raises(InvalidRequest, match="num_speakers"):
        cluster(stock.steps(), analysis, DiarizeParams())
    assert_stocks(stock, analysis, DiarizeParams(num_speakers=3))


# Confidence


def confidences(found: Turns) -> np.ndarray:
    return np.array([turn.confidence for turn in found.turns])


def lengths(found: Turns) -> np.ndarray:
    return np.array([turn.end - turn.start for turn in found.turns])


def test_clean_turns_are_told_with_confidence(agglomerative: Stock):
    analysis = Conversation(windows=120, speakers=3, seed=3, spread=0.2).analysis()
    found = cluster(agglomerative.steps(), analysis, DiarizeParams())
    assert len(found.speakers) == 3
    assert np.average(confidences(found), weights=lengths(found)) > 0.95


def test_confidence_falls_as_voices_become_alike(agglomerative: Stock):
    means: list[float] = []
    for alike in (0.0, 0.5, 0.8, 0.9, 0.97):
        analysis = Conversation(windows=120, speakers=2, seed=3, spread=0.1).analysis()
        common = analysis.vectors[analysis.activity.any(axis=1)].mean(axis=0)
        analysis.vectors[:] = (1 - alike) * analysis.vectors + alike * 3 * common
        found = cluster(agglomerative.steps(), analysis, DiarizeParams(num_speakers=2))
        assert len(found.speakers) == 2
        means.append(float(np.average(confidences(found), weights=lengths(found))))
    assert means == sorted(means, reverse=True)
    assert means[-1] < 0.6


def test_confidence_falls_with_the_windows_that_hear_nobody(agglomerative: Stock):
    means: list[float] = []
    for deaf in (0, 2, 4):  # of ten windows that see a frame
        analysis = Conversation(windows=60, speakers=1, seed=3).analysis()
        for first in range(deaf):
            analysis.activity[first::10] = 0
        found = cluster(agglomerative.steps(), analysis, DiarizeParams(num_speakers=1))
        means.append(float(np.average(confidences(found), weights=lengths(found))))
    assert means == sorted(means, reverse=True)
    assert means[0] > means[-1] + 0.2


# Whether the number of speakers was a near-tie


def seen(heights: list[float] | np.ndarray, priors: list[float] | None = None) -> Clusters:
    tree = np.zeros((len(heights), 4))
    tree[:, 2] = heights
    told = None if priors is None else np.array(priors)
    return Clusters(np.zeros((1, 3), np.int64), np.ones((1, 3, 1)), None, tree, told)


@pytest.mark.parametrize(
    ("heights", "verdict"),
    [([0.1, 0.3, 1.2], False), ([0.1, 0.7, 1.2], True), ([0.1, 0.72], True), ([0.1, 0.76], False)],
)
def test_a_merge_at_the_threshold_is_a_near_tie(agglomerative: Stock, heights: list[float], verdict: bool):
    assert risky(seen(heights), agglomerative.clustering) is verdict


@pytest.mark.parametrize(
    ("priors", "verdict"), [([0.5, 0.5, 1e-30], False), ([0.7, 0.3, 1e-6], True), ([1.0, 1e-8], True), ([1.0], False)]
)
def test_a_prior_at_its_cut_is_a_near_tie(vbx_of: Callable[[int], Stock], priors: list[float], verdict: bool):
    assert risky(seen(np.full(99, 0.6), priors), vbx_of(256).clustering) is verdict


@pytest.mark.parametrize(
    ("priors", "prints", "verdict"),
    [([0.8, 0.2], 49, True), ([0.8, 0.2], 51, False), ([1.0], 5, False), ([0.992, 0.008], 1000, False)],
)
def test_a_speaker_of_few_voice_prints_may_be_a_splinter(
    vbx_of: Callable[[int], Stock], priors: list[float], prints: int, verdict: bool
):
    found = seen(np.full(prints - 1, 0.6), priors)
    assert risky(found, vbx_of(256).clustering) is verdict


def clusters_of(similarity: list[list[list[float]]], assigned: list[list[int]]) -> Clusters:
    return Clusters(np.array(assigned), np.array(similarity), None)


def test_the_windows_whose_speakers_are_hardest_to_tell_are_doubtful(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(steps, "DOUBTFUL", 0.5)
    found = steps.doubtful(
        clusters_of(
            [[[0.9, 0.1], [0.5, 0.5]], [[0.6, 0.5], [0.1, 0.9]], [[0.5, 0.5], [0.5, 0.5]], [[0.45, 0.5], [0.0, 1.0]]],
            [[0, -2], [0, 1], [-2, -2], [0, 1]],
        )
    )
    assert found.tolist() == [3, 1]  # the one that is most nearly between two first; silence is never in doubt


def test_one_speaker_alone_leaves_nothing_in_doubt():
    assert steps.doubtful(clusters_of([[[0.9], [0.5]]], [[0, -2]])).tolist() == []


def test_two_clear_voices_are_neither_risky_nor_shaken(vbx_of: Callable[[int], Stock]):
    analysis = Conversation(windows=60, speakers=2, seed=5).analysis()
    found = survey(vbx_of(256).steps(), analysis)
    assert not found.risky
    assert len(found.doubtful) <= 3


def test_a_clustering_that_a_little_more_weight_turns_over_is_risky(
    vbx_of: Callable[[int], Stock], monkeypatch: pytest.MonkeyPatch
):
    analysis = Conversation(windows=60, speakers=2, seed=5).analysis()
    stock = vbx_of(256)
    before = stock.clustering.Fa
    monkeypatch.setattr(risk, "SWAY", (0.3,))  # what was heard counts for little: they become one
    assert survey(stock.steps(), analysis).risky
    assert stock.clustering.Fa == before


def test_names_of_clusters_do_not_matter():
    ours, theirs = np.array([[0, 1, -2], [1, 0, -2]]), np.array([[1, 0, -2], [0, 1, -2]])
    assert risk._disagreement(ours, theirs) == 0
    assert risk._disagreement(ours, np.zeros_like(ours)) == 0.5


def test_there_is_nothing_to_survey_in_silence(vbx_of: Callable[[int], Stock]):
    found = survey(vbx_of(256).steps(), Analysis.blank(4, 589, 3, 256))
    assert (found.risky, len(found.doubtful)) == (False, 0)


def test_a_survey_can_be_called_off(vbx_of: Callable[[int], Stock]):
    with pytest.raises(JobCancelled):
        survey(vbx_of(256).steps(), Conversation(windows=20, speakers=2, seed=5).analysis(), lambda: True)
