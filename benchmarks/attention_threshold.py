"""Which threshold and radius make corrected attention tell best how much of a mask is wrong.

Run: python -m benchmarks.attention_threshold WORKSPACE [--phantoms 12] [--out FILE]

The workspace's committee (the demo's) annotates phantoms of seeds that nothing else uses. For each
threshold of binary entropy and each radius of the opening: Spearman's correlation, within a
structure over phantoms, between the attention in mm3 and the volume where consensus and truth
differ; mean over structures. Published attention stands beside it. What is chosen goes into
`configs/attention.toml`.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from benchmarks.machine import describe
from configs.attention import CorrectedAttention
from configs.taxonomy import load_taxonomy
from flows.member_networks import load_members
from model.annotate import VolumePrediction, predict_volume
from model.attention import corrected_attention_mm3
from model.grid import Triple, volume_grid
from model.native_maps import foreground_box, native_maps
from model.phantom.generate import generate_phantom
from model.phantom.protocol import Protocol
from model.scores import THRESHOLD
from model.working_prediction import votes_on
from storage.model_registry import configured_committee
from storage.store import Store

CPU = torch.device("cpu")
BITS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
RADII_MM = (0.0, 1.0, 3.0)
FIRST_SEED = 90_000
PROTOCOLS = ((3.0, 3.0, 3.0), (2.5, 2.5, 5.0))
LEAST_CASES = 6

Values = dict[str, dict[str, list[float]]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--phantoms", type=int, default=12)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    store = Store.open(arguments.workspace)
    members = load_members(configured_committee(store), store.settings.annotate, CPU)
    values: Values = defaultdict(lambda: defaultdict(list))
    for number in range(arguments.phantoms):
        spacing_mm = PROTOCOLS[number % len(PROTOCOLS)]
        phantom = generate_phantom(FIRST_SEED + number, protocol=Protocol(spacing_mm=spacing_mm))
        predicted = predict_volume(
            phantom.hu, spacing_mm, members, taxonomy=load_taxonomy(), device=CPU
        )
        add(values, predicted, phantom.masks, phantom.hu, spacing_mm)
    text = "\n".join(report(values, arguments.phantoms))
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")


def add(
    values: Values,
    predicted: VolumePrediction,
    truth: dict[str, np.ndarray],
    hu: np.ndarray,
    spacing_mm: Triple,
) -> None:
    """Add one phantom's attention and errors, by structure."""
    voxel_mm3 = float(np.prod(spacing_mm))
    published = {
        result.structure: result.scores[-1].attention_voxels for result in predicted.results()
    }
    for name, mask in truth.items():
        votes = votes_on(predicted.members, name)
        box = foreground_box(votes, volume_grid(hu, spacing_mm), 3.0)
        if box is None or not mask.any():
            continue
        mean = native_maps(votes, box, spacing_mm, device=CPU).mean
        inside = mask[box.slices]
        wrong = np.count_nonzero((mean > THRESHOLD) != inside) + mask.sum() - inside.sum()
        found = values[name]
        found["error"].append(float(wrong) * voxel_mm3)
        found["published"].append(float(published[name] or 0))
        for bits in BITS:
            for radius in RADII_MM:
                limits = CorrectedAttention(entropy_bits=bits, opening_mm=radius)
                size = corrected_attention_mm3(mean, spacing_mm, limits)
                found[f"{bits} {radius}"].append(size)


def report(values: Values, phantoms: int) -> list[str]:
    """Return the table."""
    used = {name: one for name, one in values.items() if len(one["error"]) >= LEAST_CASES}

    def correlation(key: str) -> float:
        found = [
            stats.spearmanr(one[key], one["error"]).statistic
            for one in used.values()
            if len(set(one[key])) > 1
        ]
        return float(np.mean(found)) if found else float("nan")

    lines = [
        "# Threshold of corrected attention",
        "",
        f"`python -m benchmarks.attention_threshold WORKSPACE`; {describe('torch', 'numpy')}.",
        f"Demo's committee, {phantoms} phantoms at {PROTOCOLS} mm, {len(used)} structures that "
        f"{LEAST_CASES} or more of them show and the committee sees. Spearman of attention and "
        "volume of error, mean over structures:",
        "",
        "| entropy above, bits | " + " | ".join(f"opened by {r} mm" for r in RADII_MM) + " |",
        "|---|" + "---|" * len(RADII_MM),
    ]
    lines += [
        f"| {bits} | " + " | ".join(f"{correlation(f'{bits} {r}'):.3f}" for r in RADII_MM) + " |"
        for bits in BITS
    ]
    return [*lines, "", f"Published attention (voxels): {correlation('published'):.3f}."]


if __name__ == "__main__":
    main()
