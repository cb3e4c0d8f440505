"""Where the time goes, and how near that is to what it must take: `python -m tests.bench.profile [--file NAME] [--out FILE]`.

The stages of exact and fast over one recording. The floor is one pass of each network over the audio, window beside window, by
our own passes, and without anything else. How much arithmetic a pass does is counted on stock's networks, and how fast it does it
is set against a large product of matrices on the same device.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench import report
from tests.bench.corpus.__main__ import made
from tests.bench.corpus.making import ready

FILE = "four-300"
ROUNDS = 3
_SIDE = {"cpu": 2048, "cuda": 8192, "mps": 4096}
_STAGES = ("segmentation", "embedding", "clustering")
GIGA = 1e9


def stages(samples: Any, mode: str, device: str) -> dict[str, Any]:
    """Seconds by stage: the run with the median total of ROUNDS."""
    from tests.bench.ways import Ours

    engine = Ours(mode, device)
    engine.diarize(samples)
    runs: list[tuple[float, dict[str, Any]]] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        _, told = engine.diarize(samples)
        runs.append((time.perf_counter() - began, told))
    total, told = sorted(runs, key=lambda run: run[0])[ROUNDS // 2]
    spent = {stage: told[stage] for stage in _STAGES}
    return {"total": round(total, 3), **spent, "rest": round(total - sum(spent.values()), 3), "by": told["mode"]}


def floor(samples: Any, device: str) -> dict[str, float]:
    """Seconds that one pass of each network over the whole recording takes."""
    from processor.engines.diarize.model import load
    from processor.engines.diarize.pieces import Piece
    from schemas.jobs import Mode
    from turnstream import allocator
    from turnstream.settings import Settings

    allocator.keep_big_blocks()
    model = load(Settings(device=device))
    segmenter, embedder = model.segmenter, model.embedders[Mode.EXACT]
    masks = np.ones((segmenter.speakers, segmenter.frames), np.float32)
    windows = [samples[at : at + segmenter.size] for at in range(0, len(samples) - segmenter.size + 1, segmenter.size)]
    pieces = [Piece(index, window, masks) for index, window in enumerate(windows)]
    scale = len(samples) / (len(windows) * segmenter.size)
    return {
        "segmentation": scale * _seconds(lambda: [segmenter(some) for some in _cut(windows, segmenter.room)], device),
        "embedding": scale * _seconds(lambda: [embedder(some) for some in _cut(pieces, embedder.room)], device),
    }


def _cut(items: list[Any], size: int) -> list[list[Any]]:
    return [items[at : at + size] for at in range(0, len(items), size)]


def arithmetic(seconds: float) -> dict[str, float]:
    """Multiplications with additions, in billions, that one pass of each network over so many seconds does."""
    import torch

    from tests.bench.ways import Stock

    pipeline = Stock(1, "cpu")._pipeline
    window = torch.zeros(1, 1, 160_000)
    networks = {"segmentation": pipeline._segmentation.model, "embedding": pipeline._embedding.model_}
    return {name: _multiplied(network, window) / GIGA * seconds / 10 for name, network in networks.items()}


def _multiplied(network: Any, window: Any) -> float:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    recurrent = 0.0

    def count(lstm: Any, given: Any, _: Any) -> None:  # torch counts everything but these
        nonlocal recurrent
        steps = given[0].shape[0] * given[0].shape[1]
        recurrent += steps * sum(weight.numel() for name, weight in lstm.named_parameters() if "weight" in name)

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, torch.nn.LSTM)]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(window)
    for hook in hooks:
        hook.remove()
    return counter.get_total_flops() / 2 + recurrent


def product(device: str) -> float:
    """Multiplications with additions a second, in billions, of a large product of matrices in float32."""
    import torch

    side = _SIDE[device]
    a, b = torch.rand(side, side, device=device), torch.rand(side, side, device=device)
    return side**3 / _seconds(lambda: a @ b, device) / GIGA


def _seconds(work: Callable[[], Any], device: str) -> float:
    """The median of ROUNDS, after one that does not count."""
    import torch

    spent: list[float] = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        work()
        if device != "cpu":
            getattr(torch, device).synchronize()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent[1:])


def profile(samples: Any, modes: list[str], device: str) -> dict[str, Any]:
    seconds = len(samples) / 16_000
    found: dict[str, Any] = {"seconds": seconds, "modes": {mode: stages(samples, mode, device) for mode in modes}}
    least, work, peak = floor(samples, device), arithmetic(seconds), product(device)
    found["floor"] = {
        name: {
            "seconds": round(spent, 3),
            "gmac": round(work[name], 1),
            "gmac_a_second": round(work[name] / spent, 1),
            "of_product": round(work[name] / spent / peak, 3),
        }
        for name, spent in least.items()
    }
    found["product_gmac_a_second"] = round(peak, 1)
    once = sum(least.values())
    for told in found["modes"].values():
        told["over_floor"] = round(told["total"] / once, 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", default=FILE, metavar="NAME")
    parser.add_argument("--corpus", type=Path, help="a folder of recordings with RTTM beside them")
    parser.add_argument("--modes", type=lambda text: text.split(","), default=["exact", "fast"])
    parser.add_argument("--device", choices=["cpu", "cuda", "mps"], default="cpu")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    from rich.console import Console

    from tests.bench.ways import decoded

    [recording] = ready(given.corpus, [given.file]) if given.corpus else made([given.file], Console(stderr=True))
    document = report.head(report.command("tests.bench.profile"))
    document |= {"device": given.device, "file": recording.name}
    document |= profile(decoded(recording.audio), given.modes, given.device)
    report.write(given.out, document)
    print(document)


if __name__ == "__main__":
    main()
