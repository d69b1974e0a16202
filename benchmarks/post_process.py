"""What the shipped rules of post-processing change on phantoms, and what they cost.

Run: python -m benchmarks.post_process WORKSPACE COHORT [--cases 6] [--ct FILE] [--zoom 2]
    [--out FILE]

The workspace's committee (the demo's) runs once over each phantom of the cohort; its probabilities
become masks without rules and with them. Compared with the phantoms' truth, for the consensus: DSC
of the structures that are there, lesions found, and components that share no voxel with the truth.
With --ct the same is timed on a CT, on a grid that is finer by --zoom along each axis. Times are of
the processor, on one thread, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from scipy import ndimage

from benchmarks.machine import describe
from configs.post_process import PostProcessRules, shipped_post_process
from configs.taxonomy import load_taxonomy
from flows.annotate import load_members
from model.annotate import AnnotateOptions, annotate_volume
from model.committee import CommitteeMember
from model.lesion_detection import match_lesions
from model.metrics import Agreement, dice
from model.network_options import NetworkOptions
from model.working_prediction import WorkingPrediction, predict_members
from storage.cohort import read_cohort
from storage.model_registry import configured_committee
from storage.store import Store
from storage.volume import Volume

CPU = torch.device("cpu")


@dataclass
class Figures:
    """What one way of making masks gave over all phantoms."""

    dsc: dict[str, list[float]] = field(default_factory=dict)
    false_components: dict[str, int] = field(default_factory=dict)
    lesions_found: int = 0
    lesions: int = 0
    seconds: float = 0.0
    removed_ml: float = 0.0
    left_out: int = 0
    candidates: int = 0


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("cohort", type=Path)
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--ct", type=Path)
    parser.add_argument("--zoom", type=float, default=2.0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    store = Store.open(arguments.workspace)
    members = load_members(configured_committee(store), store.settings.annotate, CPU)
    lines = ["# Rules of post-processing: what they change and cost", ""]
    lines += [
        "`python -m benchmarks.post_process WORKSPACE COHORT --ct FILE`; committee of the demo;"
    ]
    lines += [
        describe("torch", "numpy", "connected-components-3d") + ", one thread; processor time.",
        "",
    ]
    lines += phantoms(members, read_cohort(arguments.cohort).cases[-arguments.cases :])
    if arguments.ct:
        lines += on_ct(members, arguments.ct, arguments.zoom)
    print("\n".join(lines))
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


def phantoms(members: Sequence[CommitteeMember], cases: Sequence) -> list[str]:
    """Return the comparison with the truth."""
    ways: dict[str, PostProcessRules | None] = {"raw": None, "rules": shipped_post_process()}
    figures = {name: Figures() for name in ways}
    network_s = 0.0
    for case in cases:
        hu, spacing_mm = case.read_hu()
        truth = case.read_truth()
        predictions, seconds = predicted(members, hu, spacing_mm)
        network_s += seconds
        for name, rules in ways.items():
            add(figures[name], predictions, members, (hu, spacing_mm), truth, rules)
    return table(figures, network_s, len(cases))


def predicted(
    members: Sequence[CommitteeMember], hu: np.ndarray, spacing_mm: tuple[float, float, float]
) -> tuple[list[WorkingPrediction], float]:
    """Run the networks; return what they say and how long it took."""
    started = time.process_time()
    predictions = predict_members(
        hu,
        spacing_mm,
        members,
        structures=load_taxonomy().names,
        device=CPU,
        options=NetworkOptions(batch_size=2),
    )
    return predictions, time.process_time() - started


def results_of(predictions, members, volume, rules):
    """Yield (result, seconds since the one before) of the native stage alone."""
    hu, spacing_mm = volume
    with mock.patch("model.annotate.predict_members", return_value=predictions):
        results = annotate_volume(
            hu,
            spacing_mm,
            members,
            taxonomy=load_taxonomy(),
            device=CPU,
            options=AnnotateOptions(rules=rules),
        )
        started = time.process_time()
        for result in results:
            yield result, time.process_time() - started
            started = time.process_time()


def add(
    figures: Figures,
    predictions: Sequence[WorkingPrediction],
    members: Sequence[CommitteeMember],
    volume: tuple[np.ndarray, tuple[float, float, float]],
    truth: Mapping[str, np.ndarray],
    rules: PostProcessRules | None,
) -> None:
    """Add one phantom's figures."""
    hu, spacing_mm = volume
    for result, seconds in results_of(predictions, members, volume, rules):
        figures.seconds += seconds
        name = result.structure
        drawn = np.zeros(hu.shape, np.bool_)
        if result.box is not None:
            drawn[result.box.slices] = result.consensus
        true = truth.get(name, np.zeros_like(drawn))
        score = dice(drawn, true)
        if not isinstance(score, Agreement) and true.any():
            figures.dsc.setdefault(name, []).append(score)
        match = match_lesions(drawn, true, spacing_mm)
        known = figures.false_components.get(name, 0)
        figures.false_components[name] = known + match.false_positives
        figures.removed_ml += result.scores[-1].removed_ml or 0.0
        if load_taxonomy()[name].is_lesion:
            figures.lesions += len(match.found)
            figures.lesions_found += sum(match.found)
        if result.candidates is not None:
            figures.candidates += len(result.candidates.listed)
            figures.left_out += result.candidates.left_out


def table(figures: Mapping[str, Figures], network_s: float, cases: int) -> list[str]:
    """Return the comparison as Markdown."""
    taxonomy = load_taxonomy()
    groups = {
        "organs": [one.name for one in taxonomy.structures if not one.is_lesion],
        "lesions": [one.name for one in taxonomy.structures if one.is_lesion],
    }
    raw, ruled = figures["raw"], figures["rules"]
    lines = [f"{cases} phantoms, consensus of {network_s:.0f} s of networks.", ""]
    lines += ["| figure | raw | rules |", "|---|---|---|"]
    for group, names in groups.items():
        values = [
            np.mean([np.mean(one.dsc[name]) for name in names if name in one.dsc])
            for one in (raw, ruled)
        ]
        lines.append(f"| mean DSC, {group} | {values[0]:.4f} | {values[1]:.4f} |")
        counts = [sum(one.false_components.get(n, 0) for n in names) for one in (raw, ruled)]
        lines.append(f"| components outside of the truth, {group} | {counts[0]} | {counts[1]} |")
    lines += [
        f"| lesions found of {raw.lesions} | {raw.lesions_found} | {ruled.lesions_found} |",
        f"| native stage, s a case | {raw.seconds / cases:.2f} | {ruled.seconds / cases:.2f} |",
        "",
        f"The rules removed {ruled.removed_ml:.1f} mL in all; {ruled.candidates} candidates of "
        f"lesions are listed, {ruled.left_out} left out. Structures whose DSC changed by more than "
        "0.005:",
        "",
        "| structure | raw | rules | components outside of the truth: raw | rules |",
        "|---|---|---|---|---|",
    ]
    for name in taxonomy.names:
        before, after = (float(np.mean(one.dsc.get(name, [0.0]))) for one in (raw, ruled))
        if abs(before - after) > 0.005:
            lines.append(
                f"| {name} | {before:.3f} | {after:.3f} | {raw.false_components[name]} | "
                f"{ruled.false_components[name]} |"
            )
    return lines


def on_ct(members: Sequence[CommitteeMember], path: Path, zoom: float) -> list[str]:
    """Return what the stages take on one CT."""
    volume = Volume.open(path)
    coarse = volume.read_ras()
    hu = ndimage.zoom(coarse.astype(np.float32), zoom, order=1).astype(np.int16)
    spacing_mm = tuple(size / zoom for size in volume.grid.ras_spacing_mm)
    predictions, network_s = predicted(members, hu, spacing_mm)
    seconds = {
        name: sum(s for _, s in results_of(predictions, members, (hu, spacing_mm), rules))
        for name, rules in (("raw", None), ("rules", shipped_post_process()))
    }
    share = (seconds["rules"] - seconds["raw"]) / (network_s + seconds["rules"])
    return [
        "",
        f"A CT on a grid of {hu.shape}, {spacing_mm[0]:g} mm: networks {network_s:.1f} s, native "
        f"stage {seconds['raw']:.1f} s raw and {seconds['rules']:.1f} s with rules; the rules take "
        f"{share:.1%} of the whole.",
    ]


if __name__ == "__main__":
    main()
