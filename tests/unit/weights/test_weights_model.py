"""The real open pack, from the default cache directory, where the first of these tests builds it."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_hub import TOKEN, fake_hub
from tests.support.recordings import SAMPLE_RATE, sample_waveform
from tests.support.weights import SHAPE_OF_3_1, make_pipeline
from turnstream.settings import Settings
from turnstream.weights import Source, Weights, available, pins, quiet, resolve

pytestmark = [
    pytest.mark.model,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # pyannote and lightning warn of much
]

EMBEDDING_SHA256 = "f0359231b64f664bfc07feb590e6e729cfe91a651f9bd2c72dbdaeba46c36ae0"
"""Over the names and values of the embedding's parameters, as ONNX Runtime's own reader of its format gives them."""


@pytest.fixture(scope="module")
def weights() -> Weights:
    quiet(Settings())
    return resolve(Settings(), progress=print)


@pytest.fixture(scope="module")
def sample() -> dict[str, Any]:
    import torch

    return {"waveform": torch.from_numpy(sample_waveform())[None], "sample_rate": SAMPLE_RATE, "uri": "sample"}


def load(path: Path) -> Any:
    """The pipeline, with one window a pass: that needs no more memory than a small machine has."""
    from pyannote.audio import Pipeline

    pipeline = Pipeline.from_pretrained(path)
    pipeline.segmentation_batch_size = pipeline.embedding_batch_size = 1
    return pipeline


def test_the_pack_says_what_it_is(weights: Weights):
    assert (weights.source, weights.revision) == (Source.OPEN_PACK, pins.REVISION)
    assert available(Settings()) == weights


def test_the_networks_are_the_ones_in_the_wheels(weights: Weights):
    import torch

    segmentation = (weights.path / "segmentation" / "pytorch_model.bin").read_bytes()
    assert hashlib.sha256(segmentation).hexdigest() == pins.SEGMENTATION_SHA256
    embedding = torch.load(weights.path / "embedding" / "pytorch_model.bin", weights_only=False)["state_dict"]
    digest = hashlib.sha256()
    for name, value in sorted(embedding.items()):
        digest.update(name.encode() + value.numpy().tobytes())
    assert digest.hexdigest() == EMBEDDING_SHA256


@pytest.fixture
def hub_of_open_weights(weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub whose speaker-diarization-3.1 refers to repositories that hold the open weights."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    config = make_pipeline(tmp_path / "3.1", SHAPE_OF_3_1) / "config.yaml"
    networks = {
        "pyannote/segmentation-3.0": "segmentation",
        "pyannote/wespeaker-voxceleb-resnet34-LM": "embedding",
    }
    with fake_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.repos = {"pyannote/speaker-diarization-3.1": {"config.yaml": config.read_bytes()}}
        for repo, part in networks.items():
            hub.repos[repo] = {"pytorch_model.bin": (weights.path / part / "pytorch_model.bin").read_bytes()}
        yield


@pytest.mark.usefixtures("hub_of_open_weights")
def test_a_pipeline_of_the_shape_of_3_1_diarizes(sample: dict[str, Any], tmp_path: Path):
    settings = Settings(
        hf_token=TOKEN, diarization_model="pyannote/speaker-diarization-3.1", cache_dir=tmp_path / "cache"
    )
    pipeline = load(resolve(settings).path)
    assert pipeline.klustering == "AgglomerativeClustering"
    part = {**sample, "waveform": sample["waveform"][:, 6 * SAMPLE_RATE : 16 * SAMPLE_RATE]}
    found = pipeline(part).speaker_diarization
    assert len(found.labels()) == 2


WATCHED = """
import json, os, socket, warnings
tried = []
def refuse(*where, **_):
    tried.append(repr(where))
    raise OSError("no network in this test")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse

warnings.simplefilter("ignore")
from turnstream.settings import Settings
from turnstream.weights import quiet, resolve
quiet(Settings())
weights = resolve(Settings())
import torch
from pyannote.audio import Pipeline
from pyannote.audio.telemetry import metrics

def run():
    tried.clear()
    pipeline = Pipeline.from_pretrained(weights.path)
    pipeline({"waveform": torch.zeros(1, 16000), "sample_rate": 16000, "uri": "silence"})
    metrics.provider.force_flush(10_000)
    return len(tried)

quietly = run()
os.environ["PYANNOTE_METRICS_ENABLED"] = "1"
print(json.dumps([quietly, run()]))
"""


@pytest.mark.usefixtures("weights")
def test_a_job_asks_nothing_of_the_network():
    done = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True, check=True, timeout=300)
    quietly, as_pyannote_comes = json.loads(done.stdout.splitlines()[-1])
    assert quietly == 0
    assert as_pyannote_comes > 0  # the watch would have seen it
