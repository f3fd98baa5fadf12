"""Timing functions beside each other."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor


def in_turns(functions: dict[str, Callable[[], Tensor]], seconds: float) -> dict[str, float]:
    """Median seconds of each function, called in turns for ``seconds`` in all, four times at least."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    with torch.inference_mode():
        for run in functions.values():
            run()
        begin, rounds = time.perf_counter(), 0
        while rounds < 4 or time.perf_counter() - begin < seconds:
            rounds += 1
            for name, run in functions.items():
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in times.items()}
