"""How far two real models' surfaces lie apart, and whether simulated pairs look the same.

Run: python -m benchmarks.border_errors DATA [--pairs 12] [--patients 60] [--out FILE]

DATA is the folder with `ct/example_ct_slab` (see its SOURCES.md): 30 slices with the labels of two
models. Per structure:
- the length over which the displacement is alike, from the correlation of the difference of both
  signed distances between places on the border of the first mask;
- the amplitude in mm for which simulated pairs have the measured DSC on average: two members of
  different families, displaced from the first mask by the very code of the simulation, without the
  spread over cases;
- one spread along the surface for all structures, for which the share of disputed voxels that touch
  a face of the other side's border is closest to the measured one.
So the DSC is fitted and says nothing; the share has one number for all structures.

With `--patients`, what the shipped figures give on phantoms of the split `development`, where
organs have other sizes and voxels, and amplitudes vary: agreement between families, and true DSC of
the consensus, of labels without a gross fault. Nothing was fitted to these.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage, optimize
from scipy.spatial.distance import pdist

from benchmarks.machine import describe
from configs.simulated_committee import SimulatedMember, SurfaceSpread, load_committee_scenario
from flows.simulated_committee import Simulation, simulated_patients
from model.grid import Grid
from model.simulated_committee.border_error import Amplitudes, draw_errors
from model.simulated_committee.signed_field import SignedField, signed_distance, truth_field
from model.simulated_committee.table import simulated_table

# TotalSegmentator v2 value -> our structure.
VALUES = {
    "spleen": (1,),
    "kidney_right": (2,),
    "kidney_left": (3,),
    "gall_bladder": (4,),
    "liver": (5,),
    "stomach": (6,),
    "aorta": (52,),
    "postcava": (63,),
    "portal_vein_and_splenic_vein": (64,),
    "pancreas": (7,),
    "adrenal_gland_right": (8,),
    "adrenal_gland_left": (9,),
    "duodenum": (19,),
    "lung_right": (12, 13, 14),
    "lung_left": (10, 11),
    "colon": (20,),
    "intestine": (18,),
}
# By share of voxels that lie on the border.
CLASSES = {"compact": (0.0, 0.4), "tubular": (0.4, 0.6), "thin": (0.6, 1.01)}
LEAST_VOXELS = 100
LEAST_LABELS = 10
SPREADS = (0.0, 0.25, 0.5, 0.75, 1.0)
LAGS_MM = np.arange(1.5, 25.0, 3.0)
REACH_MM = 25.0
PAIR = tuple(SimulatedMember(name=name, family=name, confidence=1.0) for name in ("a", "b"))


@dataclass(frozen=True)
class Measured:
    """One structure as both models see it, in a box."""

    structure: str
    first: np.ndarray
    second: np.ndarray
    field: SignedField
    length_mm: float

    @property
    def surface_share(self) -> float:
        """Return which share of the voxels lies on the border."""
        return float((self.first & ~inner(self.first)).sum() / self.first.sum())


def main() -> None:
    """Measure, fit and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--pairs", type=int, default=12)
    parser.add_argument("--patients", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where simulated patients are kept")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found, grid = measure(arguments.data / "ct" / "example_ct_slab")
    tables = {spread: fit_all(found, grid, spread, arguments.pairs) for spread in SPREADS}
    gaps = {
        spread: float(np.mean([abs(row[3] - row[4]) for row in rows]))
        for spread, rows in tables.items()
    }
    best = min(gaps, key=gaps.__getitem__)
    lines = [
        "# Border errors of two real models, and of simulated pairs",
        "",
        f"`python -m benchmarks.border_errors DATA --pairs {arguments.pairs}`; one CT, 30 slices "
        "at 3 mm, two models' labels. " + describe("numpy", "scipy"),
        "",
        "Mean gap of the share within one voxel, by spread along the surface: "
        + ", ".join(f"{spread:g}: {gap:.3f}" for spread, gap in gaps.items())
        + f". The table is of {best:g}.",
        "",
        "| structure | border voxels | length mm | amplitude mm | DSC | simulated (SD) "
        "| within one voxel | simulated |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one, (amplitude, dsc, simulated, share, simulated_share) in zip(
        found, tables[best], strict=True
    ):
        lines.append(
            f"| {one.structure} | {one.surface_share:.2f} | {one.length_mm:.1f} | {amplitude:.2f} "
            f"| {dsc:.3f} | {simulated.mean():.3f} ({simulated.std():.3f}) | {share:.3f} "
            f"| {simulated_share:.3f} |"
        )
    lines += ["", *class_lines(found, [row[0] for row in tables[best]])]
    if arguments.patients:
        lines += ["", *phantom_lines(found, arguments.patients, arguments.folder)]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


def class_lines(found: list[Measured], amplitudes: list[float]) -> list[str]:
    """Return what stands for structures that were not measured: medians, by share of border."""
    lines = ["| class (border voxels) | measured | amplitude mm | length mm |", "|---|---|---|---|"]
    for name, (low, high) in CLASSES.items():
        chosen = [n for n, one in enumerate(found) if low <= one.surface_share < high]
        amplitude = np.median([amplitudes[n] for n in chosen])
        length = np.median([found[n].length_mm for n in chosen])
        lines.append(
            f"| {name} ({low:g} to {high:g}) | {len(chosen)} | {amplitude:.2f} | {length:.1f} |"
        )
    return lines


def phantom_lines(found: list[Measured], patients: int, folder: Path | None) -> list[str]:
    """Return agreement and truth on phantoms beside what was measured."""
    simulation = Simulation(split="development", count=patients)
    made = simulated_table(simulated_patients(simulation, folder=folder, workers=2))
    measured = {one.structure: dsc(one.first, one.second) for one in found}
    lines = [
        f"{patients} phantoms, amplitudes varied:",
        "",
        "| structure | n | measured pair | median pairwise DSC | true DSC: 10 %, median, 90 % |",
        "|---|---|---|---|---|",
    ]
    for place, name in enumerate(made.table.structures):
        chosen = (made.table.structure == place) & made.present & (made.fault == "")
        if chosen.sum() < LEAST_LABELS:
            continue
        pairs = made.table["pairwise_dice"][chosen]
        pair = f"{np.median(pairs):.3f}" if np.isfinite(pairs).all() else "-"
        low, middle, high = np.quantile(made.dsc[chosen], (0.1, 0.5, 0.9))
        known = f"{measured[name]:.3f}" if name in measured else "-"
        lines.append(
            f"| {name} | {chosen.sum()} | {known} | {pair} | {low:.3f}, {middle:.3f}, {high:.3f} |"
        )
    return lines


def measure(folder: Path) -> tuple[list[Measured], Grid]:
    """Return all structures that both models see, and the grid."""
    images = [
        nibabel.as_closest_canonical(nibabel.load(folder / f"totalseg_v2_{kind}_model.nii.gz"))
        for kind in ("full", "fast")
    ]
    first, second = (np.asarray(image.dataobj) for image in images)
    spacing = tuple(float(size) for size in images[0].header.get_zooms()[:3])
    grid = Grid(first.shape, spacing)
    found = []
    for structure, values in VALUES.items():
        masks = [np.isin(labels, values) for labels in (first, second)]
        field = truth_field(masks[0], grid, REACH_MM)
        if field is None or min(mask.sum() for mask in masks) < LEAST_VOXELS:
            continue
        crops = [mask[field.box.slices] for mask in masks]
        length = alike_mm(signed_distance(crops[1], spacing) - field.values, crops[0], spacing)
        found.append(Measured(structure, crops[0], crops[1], field, length))
    return found, grid


def alike_mm(displacement: np.ndarray, mask: np.ndarray, spacing_mm: tuple) -> float:
    """Return the length of exp(-(r / length)^2), fitted to the correlation along the border.

    The height at distance 0 is free: rounding to voxels is noise of its own.
    """
    places = np.argwhere(mask & ~inner(mask))
    if len(places) > 2500:
        places = places[np.random.default_rng(0).choice(len(places), 2500, replace=False)]
    values = np.clip(displacement[tuple(places.T)], -10, 10)
    distances = pdist(places * np.asarray(spacing_mm))
    rows, columns = np.triu_indices(len(values), 1)
    products = values[rows] * values[columns] / np.mean(values**2)
    lag = np.digitize(distances, LAGS_MM) - 1
    inside = (lag >= 0) & (lag < len(LAGS_MM) - 1)
    count = np.bincount(lag[inside], minlength=len(LAGS_MM) - 1)
    mean = np.bincount(lag[inside], products[inside], len(LAGS_MM) - 1) / np.maximum(count, 1)
    middle = (LAGS_MM[1:] + LAGS_MM[:-1]) / 2

    def curve(r: np.ndarray, height: float, length: float) -> np.ndarray:
        return height * np.exp(-((r / length) ** 2))

    (_, length), _ = optimize.curve_fit(
        curve, middle, mean, p0=(0.7, 8.0), bounds=((0.1, 3.0), (1.0, 40.0))
    )
    return float(length)


def fit_all(found: list[Measured], grid: Grid, spread: float, pairs: int) -> list[tuple]:
    """Return amplitude, DSC, simulated DSCs, share near the border and simulated share of each."""
    return [fit(one, grid, spread, pairs) for one in found]


def fit(one: Measured, grid: Grid, spread: float, pairs: int) -> tuple:
    """Return the amplitude that gives the measured DSC, and what else comes with it."""
    unit = unit_errors(one, grid, spread, pairs)
    wanted = dsc(one.first, one.second)

    def mean_dsc(amplitude: float) -> float:
        return float(np.mean([dsc(*drawn(one, pair, amplitude)) for pair in unit]))

    low, high = 0.02, 12.0
    for _ in range(14):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if mean_dsc(middle) > wanted else (low, middle)
    masks = [drawn(one, pair, high) for pair in unit]
    simulated = np.array([dsc(*pair) for pair in masks])
    shares = [near_share(*pair) for pair in masks]
    return high, wanted, simulated, near_share(one.first, one.second), float(np.nanmean(shares))


def unit_errors(one: Measured, grid: Grid, spread: float, pairs: int) -> list[tuple]:
    """Return pairs of displacements whose difference has a standard deviation of 1 mm."""
    shipped = load_committee_scenario()
    spreads = {one.structure: SurfaceSpread(disagreement_mm=1, length_mm=one.length_mm)}
    border = shipped.border.model_copy(update={"hard_spread": spread, "measured": spreads})
    scenario = shipped.model_copy(update={"border": border, "members": PAIR})
    drawn_pairs = []
    for seed in range(pairs):
        errors = draw_errors(
            one.structure,
            one.field.box,
            grid.spacing_mm,
            scenario=scenario,
            amplitudes=Amplitudes(),
            generator=np.random.default_rng(seed),
        )
        drawn_pairs.append(tuple(errors.by_member[member.name] for member in PAIR))
    return drawn_pairs


def drawn(one: Measured, pair: tuple, amplitude_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return both simulated masks."""
    first, second = (one.field.values + np.float32(amplitude_mm) * error > 0 for error in pair)
    return first, second


def dsc(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Dice of two masks that are not both empty."""
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def near_share(first: np.ndarray, second: np.ndarray) -> float:
    """Return which share of the disputed voxels shares a face with the first mask's border."""
    disputed = first ^ second
    if not disputed.any():
        return float("nan")
    near = (ndimage.binary_dilation(first) & ~first) | (first & ~inner(first))
    return float((disputed & near).sum() / disputed.sum())


def inner(mask: np.ndarray) -> np.ndarray:
    """Return a mask without its border voxels; where the array ends there is no border."""
    return ndimage.binary_erosion(mask, border_value=1)


if __name__ == "__main__":
    main()
