"""Turns from what the networks said: those of upstream's own code, whatever was said."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processor.engines.diarize.analysis import Analysis
from processor.engines.diarize.clustering import Turn, Turns, cluster
from processor.engines.diarize.quiet import quiet
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
