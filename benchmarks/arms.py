"""Whether corrections from the queue help more than random ones: the demo's arms over seeds.

``python -m benchmarks.arms OUT [--seeds 0 1 2]`` runs the whole demo once a seed in OUT/seed-N and
prints mean DSC on the report patients by arm, as differences to the arm without corrections. Each
seed has phantoms, members, reader and splits of its own; the demo's settings were not tuned on
these seeds' report patients.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from flows.demo import DemoResult, demo
from flows.demo_loop import LoopResult
from flows.tables import print_line

_BASE = "no corrections"


def main() -> None:
    """Run the demo for each seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    loops: dict[int, LoopResult] = {}
    for seed in arguments.seeds:
        result = demo(arguments.out / f"seed-{seed}", seed=seed)
        loops[seed] = result.loop
        print_line(_summary(seed, result))
    print_line(describe("torch", "numpy"))
    for line in _table(loops):
        print_line(line)


def _summary(seed: int, result: DemoResult) -> str:
    """Return what the demo took and how good its first committee is, before any correction."""
    seconds = result.seconds
    main_job = sum(seconds.values()) - seconds["loop"]
    stages = ", ".join(f"{name} {taken:.0f}" for name, taken in seconds.items())
    return (
        f"seed {seed}: mean DSC {result.evaluation.macro_dsc or 0.0:.3f}, Spearman within "
        f"structures {result.evaluation.ranking.macro or 0.0:.2f}; main job {main_job:.0f} s, in "
        f"all {sum(seconds.values()):.0f} s ({stages})"
    )


def _table(loops: dict[int, LoopResult]) -> list[str]:
    """Return the Markdown table: mean DSC by arm and seed, and gains over the arm without."""
    names = [arm.name for arm in next(iter(loops.values())).arms]
    lines = [
        "| seed | report cases | before | " + " | ".join(names) + " | gate |",
        "|---" * (len(names) + 4) + "|",
    ]
    gains: dict[str, list[float]] = {name: [] for name in names}
    for seed, loop in loops.items():
        scores = {arm.name: arm.dsc or 0.0 for arm in loop.arms}
        for name in names:
            gains[name].append(scores[name] - scores[_BASE])
        cells = " | ".join(f"{scores[name]:.3f}" for name in names)
        outcome = loop.retrained.decision.outcome
        lines.append(
            f"| {seed} | {loop.report_cases} | {loop.before or 0.0:.3f} | {cells} | {outcome} |"
        )
    for name in names:
        if name != _BASE:
            listed = ", ".join(f"{gain:+.3f}" for gain in gains[name])
            lines.append(f"\n{name} against none: mean {np.mean(gains[name]):+.4f} ({listed})")
    return lines


if __name__ == "__main__":
    main()
