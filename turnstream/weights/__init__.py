"""Where models come from: a local directory, the hub, or the open pack. Importing this loads no library of models."""

import logging
import time
from collections.abc import Callable

from turnstream.settings import Settings
from turnstream.weights.cache import cache_dir
from turnstream.weights.source import COMMUNITY_1, Source, Weights

log = logging.getLogger(__name__)


def resolve(settings: Settings, *, progress: Callable[[str], None] | None = None) -> Weights:
    from turnstream.weights import open_pack

    say = progress or log.info
    deadline = time.monotonic() + settings.engine_load_limit
    path = open_pack.build(cache_dir(settings), deadline=deadline, say=say)
    return Weights(path, COMMUNITY_1, Source.OPEN_PACK, open_pack.REVISION)
