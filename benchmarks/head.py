"""The dynamic head against a grouped convolution on features replicated for each class.

Run: python -m benchmarks.head [--rounds N] [--size VOXELS] [--out FILE]

Both get the same features (1, 8, size^3) and the same parameters of 32 classes, without gradient,
in float32. Times are medians of paired runs, one of each in turn, so that a busy moment of the
machine strikes both; the ratio is the median of each pair's ratio. Peak memory is how far the
high-water mark of a process of its own rises during one call, the logits themselves included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.machine import describe
from model.dynamic_head import apply_class_layers, split_parameters

CLASSES = 32
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of paired runs, and the largest difference between the logits of both forms."""

    ours: list[float]
    grouped: list[float]
    difference: float


def ours(features: Tensor, parameters: Tensor) -> Tensor:
    """Return the logits of every class by the head of the product."""
    return apply_class_layers(features, split_parameters(parameters))


def grouped(features: Tensor, parameters: Tensor) -> Tensor:
    """The textbook form: one group a class over a copy of the features a class."""
    theta = parameters[0]
    hidden = features.repeat(1, CLASSES, 1, 1, 1)
    hidden = _layer(hidden, theta[:, 0:64], theta[:, 136:144]).relu_()
    hidden = _layer(hidden, theta[:, 64:128], theta[:, 144:152]).relu_()
    return _layer(hidden, theta[:, 128:136], theta[:, 152:153])


def _layer(hidden: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    kernel = weights.reshape(-1, 8, 1, 1, 1)
    return functional.conv3d(hidden, kernel, biases.reshape(-1), groups=CLASSES)


VARIANTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ours": ours, "grouped": grouped}


def inputs(size: int) -> tuple[Tensor, Tensor]:
    """Return features (1, 8, size^3) and parameters (1, 32, 153), always the same."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 8, size, size, size, generator=generator)
    return features, 0.4 * torch.randn(1, CLASSES, 153, generator=generator)


@torch.inference_mode()
def measure_times(size: int, rounds: int) -> Times:
    """Run both forms in turn."""
    features, parameters = inputs(size)
    difference = (ours(features, parameters) - grouped(features, parameters)).abs().max()
    taken: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for _ in range(rounds):
        for variant, run in VARIANTS.items():
            started = time.perf_counter()
            run(features, parameters)
            taken[variant].append(time.perf_counter() - started)
    return Times(**taken, difference=float(difference))


@torch.inference_mode()
def measure_peak_bytes(variant: str, size: int) -> int:
    """Return how far one call raises the high-water mark of this process."""
    features, parameters = inputs(size)
    before = _high_water_bytes()
    VARIANTS[variant](features, parameters)
    return _high_water_bytes() - before


def _high_water_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def in_child(task: str, *, size: int, rounds: int, threads: int) -> Any:
    """Run one task in a fresh process with its own number of threads."""
    command = [sys.executable, "-m", "benchmarks.head", "--child", task]
    command += ["--size", str(size), "--rounds", str(rounds)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def run_child(task: str, size: int, rounds: int) -> None:
    """Print what a child measured, as JSON."""
    if task == "times":
        print(json.dumps(asdict(measure_times(size, rounds))))
    else:
        print(json.dumps(measure_peak_bytes(task, size)))


def time_row(threads: int, times: Times) -> str:
    """Return one row of the table."""
    ratios = [other / own for other, own in zip(times.grouped, times.ours, strict=True)]
    return (
        f"| {threads} | {median(times.grouped):.2f} | {median(times.ours):.2f} | "
        f"{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}) |"
    )


def report(size: int, rounds: int) -> str:
    """Measure everything and return the page."""
    timed = {
        threads: Times(**in_child("times", size=size, rounds=rounds, threads=threads))
        for threads in (1, 2)
    }
    peaks = {name: in_child(name, size=size, rounds=1, threads=1) for name in VARIANTS}
    difference = max(times.difference for times in timed.values())
    lines = [
        f"# Dynamic head of {CLASSES} classes on a {size}^3 patch",
        "",
        describe("torch"),
        "",
        f"Command: `python -m benchmarks.head --rounds {rounds} --size {size}`. Float32, no "
        f"gradient; medians of {rounds} paired runs.",
        "",
        f"Largest difference between the logits of both forms: {difference:.2g}.",
        "",
        "| threads | grouped convolution s | ours s | times faster (range) |",
        "|---|---|---|---|",
        *(time_row(threads, times) for threads, times in timed.items()),
        "",
        "| peak memory of one call, logits included | MB |",
        "|---|---|",
        *(f"| {name} | {peak / 1e6:.0f} |" for name, peak in peaks.items()),
        f"| ratio | {peaks['grouped'] / peaks['ours']:.1f} |",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the command line and print the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", choices=["times", *VARIANTS], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_child(arguments.child, arguments.size, arguments.rounds)
        return
    text = report(arguments.size, arguments.rounds)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
