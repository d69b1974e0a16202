"""What the plausibility rules find of injected faults, and what they say of right labels.

Run: python -m benchmarks.plausibility COHORT [COHORT ...] [--role train] [--seed 0] [--rounds 2]
    [--data FOLDER] [--out FILE]

Labels are the whole truth of phantoms (`atlasloop phantom`), each checked as it is and then once
for every kind of fault and round, with one fault in it. A kind is found by its rule when a new
finding of that rule, of severity fault, names the structure; new means that the same rule said
nothing of it on the clean case. A finding on another structure than the injured ones is a false
alarm, so precision counts every finding of a rule, on faulty and on clean labels alike, each
finding on the clean case once. With --data (the folder of real CTs) the labels of the real CT, of
its slab and the anatomy prior are checked too, the last one with faults. Times are of the
processor, one thread.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmarks.machine import describe
from configs.plausibility import shipped_plausibility
from configs.taxonomy import load_taxonomy
from model.grid import Box
from model.placed_crop import PlacedMask, cropped
from model.plausibility.check import check_anatomy
from model.plausibility.finding import Finding
from storage.cohort import read_cohort
from storage.grid import Grid
from storage.masks import EncodedMask, decode_crop, encode_mask
from storage.volume import Volume

Masks = dict[str, np.ndarray]
RULES = shipped_plausibility()
PAIRS = (
    ("kidney_right", "kidney_left"),
    ("lung_right", "lung_left"),
    ("adrenal_gland_right", "adrenal_gland_left"),
    ("femur_head_right", "femur_head_left"),
)
EXCHANGED = (("bladder", "gall_bladder"), ("spleen", "bladder"), ("stomach", "bladder"))
# Values of TotalSegmentator v2 to structures; the femora are cut to their upper 50 mm.
TOTAL = {
    1: "spleen",
    2: "kidney_right",
    3: "kidney_left",
    4: "gall_bladder",
    15: "esophagus",
    5: "liver",
    6: "stomach",
    52: "aorta",
    63: "postcava",
    64: "portal_vein_and_splenic_vein",
    7: "pancreas",
    8: "adrenal_gland_right",
    9: "adrenal_gland_left",
    19: "duodenum",
    12: "lung_right",
    13: "lung_right",
    14: "lung_right",
    10: "lung_left",
    11: "lung_left",
    20: "colon",
    18: "intestine",
    21: "bladder",
    22: "prostate",
    75: "femur_head_left",
    76: "femur_head_right",
    23: "kidney_cyst",
    24: "kidney_cyst",
}


@dataclass(frozen=True)
class Labels:
    """All masks of one case."""

    name: str
    masks: Masks
    spacing_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Injected:
    """Masks with one fault, and the structures that it changed."""

    masks: Masks
    structures: tuple[str, ...]


@dataclass
class Tally:
    """What was found of one kind of fault."""

    made: int = 0
    by_rule: int = 0
    by_any: int = 0
    missed: Counter[str] = field(default_factory=Counter)


def main() -> None:
    """Check, inject and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohorts", type=Path, nargs="+")
    parser.add_argument("--role", choices=("train", "unseen"), default="train")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    lines = ["# Plausibility rules: what they find and what they say wrongly", ""]
    lines += [describe("numpy", "scipy", "connected-components-3d"), ""]
    cases = (
        Labels(case.case, case.read_truth(), case.read_hu()[1])
        for folder in arguments.cohorts
        for case in read_cohort(folder).cases
        if case.record.role == arguments.role
    )
    rng = np.random.default_rng(arguments.seed)
    lines += [
        f"## Phantoms, sites of role {arguments.role}",
        "",
        *judged(cases, rng, arguments.rounds),
    ]
    if arguments.data:
        lines += on_real(arguments.data, rng)
    print("\n".join(lines))
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


def checked(labels: Labels, masks: Masks) -> tuple[Finding, ...]:
    """Return what the rules say of masks."""
    crops = [(name, crop) for name, mask in masks.items() if (crop := cropped(mask)) is not None]
    shape = next(iter(masks.values())).shape
    return check_anatomy(
        crops, shape=shape, spacing_mm=labels.spacing_mm, rules=RULES, covered=list(masks)
    )


def judged(cases, rng: np.random.Generator, rounds: int) -> list[str]:
    """Return the tables for some cases."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    right, wrong = Counter(), Counter()
    clean_faults, notes, words = Counter(), Counter(), []
    count, seconds = 0, 0.0
    for labels in cases:
        count += 1
        started = time.process_time()
        clean = checked(labels, labels.masks)
        seconds += time.process_time() - started
        faults = [one for one in clean if one.severity == "fault"]
        clean_faults.update(one.rule for one in faults)
        words += [f"- {labels.name}: {one.explanation}" for one in faults]
        notes.update(one.rule for one in clean if one.severity == "note")
        wrong.update(one.rule for one in faults)
        for kind, (inject, rule) in KINDS.items():
            for _ in range(rounds):
                made = inject(labels, rng)
                if made is not None:
                    one = added(checked(labels, made.masks), clean)
                    enter(tallies[kind], one, made, rule, (right, wrong))
    told = sum(clean_faults.values()) / max(1, count)
    noted = sum(notes.values()) / max(1, count)
    return [
        *tables(tallies, (right, wrong)),
        "",
        f"{count} clean cases: {told:.2f} false alarms a case ({dict(clean_faults)}), {noted:.2f} "
        f"notes a case ({dict(notes)}); {seconds / max(1, count):.2f} s a case.",
        *words,
        "",
    ]


def added(findings: tuple[Finding, ...], clean: tuple[Finding, ...]) -> list[Finding]:
    """Return the faults that the clean case did not have."""
    known = {(one.rule, one.structure, one.other) for one in clean}
    return [
        one
        for one in findings
        if one.severity == "fault" and (one.rule, one.structure, one.other) not in known
    ]


def enter(
    tally: Tally, found: list[Finding], made: Injected, rule: str, counts: tuple[Counter, Counter]
) -> None:
    """Count one injected fault."""
    right, wrong = counts
    hits = [one for one in found if {one.structure, one.other} & set(made.structures)]
    tally.made += 1
    tally.by_any += bool(hits)
    by_rule = any(one.rule == rule for one in hits)
    tally.by_rule += by_rule
    if not by_rule:
        tally.missed[made.structures[0]] += 1
    right.update(one.rule for one in hits)
    wrong.update(one.rule for one in found if one not in hits)


def tables(tallies: Mapping[str, Tally], counts: tuple[Counter, Counter]) -> list[str]:
    """Return recall by kind of fault and precision by rule, as Markdown."""
    lines = ["| fault | rule | injected | found by its rule | by any | not found by its rule |"]
    lines.append("|---|---|---|---|---|---|")
    for kind, tally in tallies.items():
        share, any_share = tally.by_rule / tally.made, tally.by_any / tally.made
        missed = ", ".join(f"{name} {n}" for name, n in tally.missed.most_common(4))
        cells = (kind, KINDS[kind][1], tally.made, f"{share:.0%}", f"{any_share:.0%}", missed)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    right, wrong = counts
    lines += ["", "| rule | findings on the injured | elsewhere | precision |", "|---|---|---|---|"]
    for rule in sorted({*right, *wrong}):
        total = right[rule] + wrong[rule]
        lines.append(f"| {rule} | {right[rule]} | {wrong[rule]} | {right[rule] / total:.0%} |")
    return lines


def chosen(labels: Labels, names, rng: np.random.Generator, *, least_ml: float = 1.0) -> str | None:
    """Return one of some structures that lies whole in the scan; None where there is none."""
    voxel_ml = float(np.prod(labels.spacing_mm)) / 1000
    whole = [
        name
        for name in names
        if name in labels.masks
        and labels.masks[name].sum() * voxel_ml >= least_ml
        and not labels.masks[name][:, :, [0, -1]].any()
    ]
    return str(rng.choice(whole)) if whole else None


def swapped(labels: Labels, rng: np.random.Generator) -> Injected | None:
    """Exchange the names of a pair."""
    pairs = [p for p in PAIRS if all(labels.masks[n].sum() > 20 for n in p if n in labels.masks)]
    pairs = [p for p in pairs if all(n in labels.masks for n in p)]
    return _exchanged(labels, pairs, rng)


def exchanged(labels: Labels, rng: np.random.Generator) -> Injected | None:
    """Exchange the names of two organs of the upper and the lower abdomen."""
    pairs = [p for p in EXCHANGED if all(chosen(labels, [n], rng, least_ml=5) for n in p)]
    return _exchanged(labels, pairs, rng)


def _exchanged(labels: Labels, pairs, rng: np.random.Generator) -> Injected | None:
    if not pairs:
        return None
    first, second = pairs[rng.integers(len(pairs))]
    masks = {**labels.masks, first: labels.masks[second], second: labels.masks[first]}
    return Injected(masks, (first, second))


def dropped(labels: Labels, rng: np.random.Generator) -> Injected | None:
    """Empty 1 to 5 slices in the midst of an organ."""
    name = chosen(labels, RULES.gaps.structures, rng)
    if name is None:
        return None
    mask = labels.masks[name].copy()
    slices = np.flatnonzero(mask.any(axis=(0, 1)))
    if len(slices) < 8:
        return None
    first = int(rng.integers(len(slices) // 4, len(slices) // 2))
    mask[:, :, slices[first : first + int(rng.integers(1, 6))]] = False
    return Injected({**labels.masks, name: mask}, (name,))


def island(labels: Labels, rng: np.random.Generator) -> Injected | None:
    """Add a ball of 9 to 16 mm radius at least 15 mm from the organ, inside of the others."""
    name = chosen(
        labels, [n for rule in RULES.pieces for n in rule.structures if "lung" not in n], rng
    )
    if name is None:
        return None
    mask = labels.masks[name]
    far = ndimage.distance_transform_edt(~mask, sampling=labels.spacing_mm) > 32
    far &= ~_edge(mask.shape)
    ball = _ball_in(labels, far, rng, (9.0, 16.0))
    return None if ball is None else Injected({**labels.masks, name: mask | ball}, (name,))


def leak(labels: Labels, rng: np.random.Generator) -> Injected | None:
    """Grow an organ into a neighbour, which keeps its own mask, by 25 to 60 % of that."""
    taxonomy = load_taxonomy()
    organs = [n for n in labels.masks if not taxonomy[n].is_lesion and taxonomy[n].exclusive]
    name = chosen(labels, organs, rng, least_ml=5)
    if name is None:
        return None
    others = [n for n in taxonomy[name].exclusive if labels.masks.get(n, np.zeros(1)).any()]
    away = ndimage.distance_transform_edt(~labels.masks[name], sampling=labels.spacing_mm)
    near = [n for n in others if away[labels.masks[n]].min() < 8]
    if not near:
        return None
    other = str(rng.choice(near))
    target = labels.masks[other]
    grown = target & (away <= np.quantile(away[target], rng.uniform(0.25, 0.6)))
    return Injected({**labels.masks, name: labels.masks[name] | grown}, (name, other))


def stopped_short(labels: Labels, rng: np.random.Generator) -> Injected | None:
    """Cut off 25 to 60 % of a rounded organ, from above or from below."""
    name = chosen(labels, RULES.flat_ends.structures, rng, least_ml=5)
    if name is None:
        return None
    mask = labels.masks[name].copy()
    slices = np.flatnonzero(mask.any(axis=(0, 1)))
    if len(slices) < 5:
        return None
    count = int(len(slices) * rng.uniform(0.25, 0.6)) + 1
    mask[:, :, slices[:count] if rng.random() < 0.5 else slices[-count:]] = False
    return Injected({**labels.masks, name: mask}, (name,))


def missed(labels: Labels, rng: np.random.Generator) -> Injected | None:
    """Empty an organ that lies whole in the scan and is expected."""
    expected = [n for rule in RULES.expected if rule.severity == "fault" for n in rule.structures]
    name = chosen(labels, sorted(set(expected)), rng)
    if name is None:
        return None
    return Injected({**labels.masks, name: np.zeros_like(labels.masks[name])}, (name,))


def doubled(labels: Labels, rng: np.random.Generator) -> Injected | None:
    """Give an organ's whole mask to an exclusive neighbour as well."""
    taxonomy = load_taxonomy()
    organs = [n for n in labels.masks if taxonomy[n].exclusive and not taxonomy[n].is_lesion]
    name = chosen(labels, organs, rng)
    if name is None:
        return None
    others = [n for n in taxonomy[name].exclusive if labels.masks.get(n, np.zeros(1)).any()]
    if not others:
        return None
    other = str(rng.choice(others))
    masks = {**labels.masks, other: labels.masks[other] | labels.masks[name]}
    return Injected(masks, (other, name))


def outside(labels: Labels, rng: np.random.Generator) -> Injected | None:
    """Put a lesion of 6 to 12 mm radius at least 15 mm outside of its organs."""
    taxonomy = load_taxonomy()
    lesions = [n for n in labels.masks if taxonomy[n].is_lesion]
    hosted = [n for n in lesions if any(labels.masks[p].any() for p in taxonomy[n].parents)]
    if not hosted:
        return None
    name = str(rng.choice(hosted))
    hosts = np.logical_or.reduce([labels.masks[p] for p in taxonomy[name].parents])
    far = ndimage.distance_transform_edt(~hosts, sampling=labels.spacing_mm) > 28
    ball = _ball_in(labels, far, rng, (6.0, 12.0))
    if ball is None:
        return None
    return Injected({**labels.masks, name: labels.masks[name] | ball}, (name,))


def remnant(labels: Labels, rng: np.random.Generator) -> Injected | None:
    """Keep the 3 to 15 % of an organ that are nearest to its centre."""
    taxonomy = load_taxonomy()
    name = chosen(labels, [n for n in labels.masks if not taxonomy[n].is_lesion], rng, least_ml=3)
    if name is None:
        return None
    mask = labels.masks[name]
    places = np.argwhere(mask)
    away = (((places - places.mean(axis=0)) * np.array(labels.spacing_mm)) ** 2).sum(axis=1)
    kept = places[away <= np.quantile(away, rng.uniform(0.03, 0.15))]
    result = np.zeros_like(mask)
    result[tuple(kept.T)] = True
    return Injected({**labels.masks, name: result}, (name,))


def moved(labels: Labels, rng: np.random.Generator) -> Injected | None:
    """Move an organ away from its neighbour by 60 to 90 mm, in plane or along the slices."""
    name = chosen(labels, [rule.structure for rule in RULES.touches], rng, least_ml=0.2)
    if name is None:
        return None
    mask = labels.masks[name]
    axis = int(rng.integers(3))
    by = round(rng.uniform(60, 90) / labels.spacing_mm[axis]) * int(rng.choice([-1, 1]))
    low, high = (f(np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))) for f in (min, max))
    if low + by < 1 or high + by >= mask.shape[axis] - 1:
        return None
    return Injected({**labels.masks, name: np.roll(mask, by, axis)}, (name,))


KINDS: dict[str, tuple[Callable[[Labels, np.random.Generator], Injected | None], str]] = {
    "swapped sides": (swapped, "side"),
    "names exchanged": (exchanged, "order"),
    "dropped slices": (dropped, "gap"),
    "island": (island, "pieces"),
    "leak into a neighbour": (leak, "overlap"),
    "cut inside of the scan": (stopped_short, "flat_end"),
    "missed organ": (missed, "absent"),
    "two organs in one place": (doubled, "overlap"),
    "lesion outside of its organ": (outside, "outside"),
    "remnant of an organ": (remnant, "volume"),
    "organ moved away": (moved, "apart"),
}


def _ball_in(labels, where, rng, radii_mm):
    """Return a ball round a random voxel of a mask, shape (I, J, K); None where it is empty."""
    body = np.logical_or.reduce(list(labels.masks.values()))
    places = np.argwhere(where & body & ~_edge(where.shape))
    if not len(places):
        return None
    centre = places[rng.integers(len(places))]
    away = [
        ((np.arange(n) - c) * s) ** 2
        for n, c, s in zip(where.shape, centre, labels.spacing_mm, strict=True)
    ]
    square = away[0][:, None, None] + away[1][None, :, None] + away[2][None, None, :]
    return square <= rng.uniform(*radii_mm) ** 2


def _edge(shape: tuple[int, ...]) -> np.ndarray:
    """Return a shell of 6 voxels at the border of the scan."""
    edge = np.ones(shape, np.bool_)
    edge[6:-6, 6:-6, 6:-6] = False
    return edge


def on_real(data: Path, rng: np.random.Generator) -> list[str]:
    """Return what the rules say of labels of real anatomy, and of faults in the prior."""
    lines = ["## Real anatomy", ""]
    slab = data / "ct/example_ct_slab"
    for path in (
        data / "ct/example_ct/totalseg_v2.nii.gz",
        slab / "totalseg_v2_full_model.nii.gz",
        slab / "totalseg_v2_fast_model.nii.gz",
    ):
        labels = _total(path)
        found = checked(labels, labels.masks)
        lines.append(f"- {labels.name}: {_listed(found)}")
    labels = _prior(data / "priors/anatomy_s0327.nii.gz")
    started = time.process_time()
    found = checked(labels, labels.masks)
    seconds = time.process_time() - started
    lines += [f"- {labels.name} ({seconds:.2f} s): {_listed(found)}", ""]
    lines += [*_timed(labels), "", "### Faults in the prior", ""]
    return lines + judged([labels], rng, 10)


def _timed(labels: Labels) -> list[str]:
    """Return what a case of 444 x 498 x 200 voxels costs, from stored objects on."""
    masks = {
        name: np.repeat(np.repeat(mask[:, :, 130:330], 2, axis=0), 3, axis=1)
        for name, mask in labels.masks.items()
    }
    shape = next(iter(masks.values())).shape
    spacing_mm = (0.75, 0.5, 1.5)
    grid = Grid.from_affine(shape, np.diag([*spacing_mm, 1.0]))
    box = tuple((0, size) for size in shape)
    stored = {name: encode_mask(mask, box, grid) for name, mask in masks.items() if mask.any()}
    del masks
    started = time.process_time()
    crops = [(n, _placed(one, grid)) for n, one in stored.items()]
    decoded = time.process_time()
    check_anatomy(crops, shape=shape, spacing_mm=spacing_mm, rules=RULES, covered=list(stored))
    took = time.process_time() - decoded
    return [
        f"A case of {shape}, {len(stored)} structures: {decoded - started:.2f} s to read the "
        f"stored masks, {took:.2f} s to judge them."
    ]


def _placed(one: EncodedMask, grid: Grid) -> PlacedMask:
    (i0, i1), (j0, j1), (k0, k1) = grid.box_to_ras(one.box)
    mask = decode_crop(one.data, one.box, grid).view(np.bool_)
    return PlacedMask(mask, Box((i0, j0, k0), (i1, j1, k1)))


def _listed(findings: tuple[Finding, ...]) -> str:
    faults = [one.explanation for one in findings if one.severity == "fault"]
    notes = [one.explanation for one in findings if one.severity == "note"]
    return f"{len(faults)} faults. {' '.join(faults)} {len(notes)} notes. {' '.join(notes)}".strip()


def _total(path: Path) -> Labels:
    volume = Volume.open(path)
    values, spacing_mm = volume.read_ras(), volume.grid.ras_spacing_mm
    masks: Masks = {}
    for value, name in TOTAL.items():
        mask = values == value
        if name.startswith("femur") and mask.any():
            top = int(np.flatnonzero(mask.any(axis=(0, 1)))[-1]) + 1
            mask[:, :, : max(0, top - round(50 / spacing_mm[2]))] = False
        masks[name] = masks.get(name, np.zeros(values.shape, np.bool_)) | mask
    return Labels(f"{path.parent.name}/{path.name}", masks, spacing_mm)


def _prior(path: Path) -> Labels:
    volume = Volume.open(path)
    values, names = volume.read_ras(), load_taxonomy().names
    absent = {"hepatic_vessel", "rectum", "celiac_trunk"}
    masks = {n: values == number for number, n in enumerate(names[:25], 1) if n not in absent}
    return Labels(path.name, masks, volume.grid.ras_spacing_mm)


if __name__ == "__main__":
    main()
