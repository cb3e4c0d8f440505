"""Libraries that call home, told not to."""

import os

from turnstream.settings import Settings
from turnstream.weights.source import Source, token_of, whisper_source_of


def quiet(settings: Settings) -> None:
    """Switch off what pyannote and the hub client send. To be called before the first import of either in a process.

    Both read the environment when they are imported. Without HF_TOKEN the hub is asked for nothing but the model that
    TRANSCRIBE_MODEL names; where it names none, the hub's client is told to stay offline, so that nothing is tried.
    """
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if not token_of(settings) and whisper_source_of(settings) is not Source.HUB:
        os.environ["HF_HUB_OFFLINE"] = "1"
