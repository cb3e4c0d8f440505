"""On which device CTranslate2 runs."""

import ctypes
import importlib.util
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import ctranslate2

from schemas.errors import ModelLoadFailed
from turnstream.settings import Settings

log = logging.getLogger(__name__)

CUBLAS = ("libcublasLt.so.12", "libcublas.so.12")
"""What CTranslate2's wheels open when they first multiply on a GPU, the one that the other wants first."""


def devices(settings: Settings) -> list[str]:
    """Those to try, in this order. CTranslate2 does not run on Apple's GPUs. Raises ModelLoadFailed."""
    found = ["cpu"] if settings.device != "cuda" else []
    if settings.device in {"auto", "cuda"} and ctranslate2.get_cuda_device_count() > 0:
        if opened(CUBLAS):
            return ["cuda", *found]
        log.warning("transcription cannot use the GPU: it wants cuBLAS of CUDA 12, such as nvidia-cublas-cu12 has")
    if not found:
        raise ModelLoadFailed(
            f"DEVICE={settings.device}, but CTranslate2 finds no such device here, or not its libraries; "
            "DEVICE=cpu always works"
        )
    return found


def opened(libraries: tuple[str, ...]) -> bool:
    """Whether all of them could be opened, so that whoever asks for them by name gets them: torch brings those of another
    CUDA, and what pip installs is in no directory that the system knows of."""
    return all(any(_open(path) for path in (name, *_installed(name))) for name in libraries)


def _open(path: str) -> bool:
    with suppress(OSError):
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        return True
    return False


def _installed(name: str) -> Iterator[str]:
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or () if spec else ():
        yield from map(str, Path(folder).glob(f"*/lib/{name}"))
