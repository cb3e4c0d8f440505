import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from schemas.errors import WeightsUnavailable
from tests.support.weights import COMMUNITY_1_SHAPE, SHAPE_OF_3_1, make_pipeline
from turnstream.weights import layout
from turnstream.weights.layout import Reference


def no_hub(reference: Reference, name: str) -> Path:
    raise AssertionError(f"asked the hub for {reference} {name}")


def complete(directory: Path, root: Path, fetch: layout.Fetch = no_hub, home: Reference | None = None) -> Path:
    return layout.complete(
        directory / "config.yaml", root, fetch, home=home, deadline=time.monotonic() + 10, say=lambda _: None
    )


def with_params(shape: dict[str, Any], **params: Any) -> dict[str, Any]:
    changed = copy.deepcopy(shape)
    changed["pipeline"]["params"].update(params)
    return {
        **changed,
        "pipeline": {**changed["pipeline"], "params": {k: v for k, v in changed["pipeline"]["params"].items() if v}},
    }


def test_a_complete_directory_is_taken_as_it_is(tmp_path: Path):
    directory = make_pipeline(tmp_path / "mine")
    assert complete(directory, tmp_path / "cache") == directory
    assert not (tmp_path / "cache").exists()


def test_repositories_become_parts_of_one_directory(tmp_path: Path):
    directory = make_pipeline(tmp_path / "mine", SHAPE_OF_3_1)
    asked = []

    def fetch(reference: Reference, name: str) -> Path:
        asked.append((reference.repo, name))
        path = tmp_path / "hub" / reference.repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(reference.repo)
        return path

    arranged = complete(directory, tmp_path / "cache", fetch)

    assert sorted(asked) == [
        ("pyannote/segmentation-3.0", "pytorch_model.bin"),
        ("pyannote/wespeaker-voxceleb-resnet34-LM", "pytorch_model.bin"),
    ]
    assert (arranged / "segmentation/pytorch_model.bin").read_text() == "pyannote/segmentation-3.0"
    assert (arranged / "embedding/pytorch_model.bin").read_text() == "pyannote/wespeaker-voxceleb-resnet34-LM"
    config = yaml.safe_load((arranged / "config.yaml").read_text())
    wanted = with_params(SHAPE_OF_3_1, **{part: f"$model/{part}" for part in layout.PARTS})
    assert config == wanted
    assert complete(directory, tmp_path / "cache", fetch) == arranged


def test_a_pipeline_that_uses_no_plda_gets_one_that_can_be_loaded(tmp_path: Path):
    from turnstream.settings import Settings
    from turnstream.weights import quiet

    quiet(Settings())
    directory = make_pipeline(
        tmp_path / "mine", with_params(COMMUNITY_1_SHAPE, clustering="AgglomerativeClustering", plda=None)
    )
    plda = complete(directory, tmp_path / "cache") / "plda"
    transform, model = np.load(plda / "xvec_transform.npz"), np.load(plda / "plda.npz")
    assert (transform["mean1"].shape, transform["mean2"].shape, transform["lda"].shape) == ((256,), (128,), (256, 128))
    assert (model["mu"].shape, model["tr"].shape, model["psi"].shape) == ((128,), (128, 128), (128,))
    assert np.linalg.det(model["tr"]) == 1


@pytest.mark.parametrize(
    ("value", "reference"),
    [
        ("org/net", Reference("org/net")),
        ("org/net@v2", Reference("org/net", "v2")),
        ({"checkpoint": "org/net", "subfolder": "deep", "revision": "v3"}, Reference("org/net", "v3", "deep")),
        ("$model/net", Reference("home/repo", "c0ffee", "net")),
        (None, Reference("pyannote/speaker-diarization-community-1", None, "segmentation")),
    ],
)
def test_what_a_config_may_say_where_a_part_lies(tmp_path: Path, value: Any, reference: Reference):
    directory = make_pipeline(tmp_path / "mine", with_params(COMMUNITY_1_SHAPE, segmentation=value))
    asked = []

    def fetch(asked_for: Reference, name: str) -> Path:
        asked.append((asked_for, name))
        return directory / "segmentation" / name

    with_home = Reference("home/repo", revision="c0ffee")
    try:
        complete(directory, tmp_path / "cache", fetch, with_home)
    finally:
        assert asked[0] == (reference, "pytorch_model.bin")


@pytest.mark.parametrize("form", ["beside.ckpt", "{absolute}/beside.ckpt", "segmentation"])
def test_a_part_may_be_a_path(tmp_path: Path, form: str):
    value = form.format(absolute=tmp_path / "mine")
    directory = make_pipeline(tmp_path / "mine", with_params(COMMUNITY_1_SHAPE, segmentation=value))
    (directory / "beside.ckpt").write_text("beside")
    network = complete(directory, tmp_path / "cache") / "segmentation" / "pytorch_model.bin"
    assert network.read_text() == ("segmentation" if form == "segmentation" else "beside")


@pytest.mark.parametrize("missing", ["segmentation/pytorch_model.bin", "embedding/pytorch_model.bin", "plda/plda.npz"])
def test_an_incomplete_directory_is_named(tmp_path: Path, missing: str):
    directory = make_pipeline(tmp_path / "mine")
    (directory / missing).unlink()
    with pytest.raises(WeightsUnavailable, match=missing.rpartition("/")[2]):
        complete(directory, tmp_path / "cache")


@pytest.mark.parametrize("content", [None, "", "[]", "pipeline: 3", "pipeline: {name: 5}", "{", "a: b: c"])
def test_what_is_no_pipeline_is_refused(tmp_path: Path, content: str | None):
    directory = make_pipeline(tmp_path / "mine")
    (directory / "config.yaml").unlink()
    if content is not None:
        (directory / "config.yaml").write_text(content)
    with pytest.raises(WeightsUnavailable, match="pipeline"):
        complete(directory, tmp_path / "cache")


def test_the_revision_follows_the_weights_and_not_the_place(tmp_path: Path):
    one, two = make_pipeline(tmp_path / "one"), make_pipeline(tmp_path / "two")
    (two / "README.md").write_text("notes")
    assert layout.fingerprint(one) == layout.fingerprint(two)
    (two / "embedding" / "pytorch_model.bin").write_text("others")
    assert layout.fingerprint(one) != layout.fingerprint(two)
    (two / "embedding" / "pytorch_model.bin").write_text("embedding")
    (two / "config.yaml").write_text("another")
    assert layout.fingerprint(one) != layout.fingerprint(two)
