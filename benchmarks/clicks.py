"""Count the clicks that the random walk needs from a model's real errors to a Dice of 0.9.

Run: python -m benchmarks.clicks --ct CT.nii.gz --member MASKS.nii.gz --reference MASKS.nii.gz

Both mask files hold the same label values. For every value whose Dice is under 0.9, a simulated
reader clicks the middle of the largest connected error, inside or outside as the reference says,
and the walk runs again, up to a number of clicks. What is left above that counts as not reached.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

from benchmarks.machine import describe
from model.random_walk import RandomWalkRefiner
from model.refiner import INSIDE, OUTSIDE, Marks

GOAL = 0.9
LEAST_VOXELS = 50


def main():
    """Click on every structure that is under the goal, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("ct", "member", "reference"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--most", type=int, default=20)
    parser.add_argument("--out")
    options = parser.parse_args()
    ct, spacing_mm = read(options.ct)
    member, _ = read(options.member)
    reference, _ = read(options.reference)
    hu = ct.astype(np.int16)
    rows = []
    for value in np.unique(reference[reference > 0]).astype(int):
        drawn, truth = member == value, reference == value
        if truth.sum() >= LEAST_VOXELS and drawn.any() and dice(drawn, truth) < GOAL:
            rows.append(clicked(hu, drawn, truth, spacing_mm, options.most, value))
    lines = [
        describe("scikit-image", "scipy"),
        "",
        "| label | Dice before | after 1 click | after 5 | at the end | clicks to 0.9 | s each |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]
    text = "\n".join(lines)
    print(text)
    if options.out:
        Path(options.out).write_text(text + "\n", encoding="utf-8")


def clicked(hu, mask, truth, spacing_mm, most, value):
    """Return the table's row of one structure."""
    scribbles = np.zeros(mask.shape, np.uint8)
    scores, seconds = [dice(mask, truth)], []
    refiner = RandomWalkRefiner()
    while scores[-1] < GOAL and len(seconds) < most:
        at = middle_of_largest(mask != truth, spacing_mm)
        scribbles[at] = INSIDE if truth[at] else OUTSIDE
        started = time.perf_counter()
        marks = Marks(
            hu=hu, mask=mask, scribbles=scribbles, spacing_mm=spacing_mm, structure=str(value)
        )
        mask = refiner.refine(marks)
        seconds.append(time.perf_counter() - started)
        scores.append(dice(mask, truth))
    reached = str(len(seconds)) if scores[-1] >= GOAL else f"not in {most}"
    fifth = scores[min(5, len(scores) - 1)]
    return (
        f"| {value} | {scores[0]:.3f} | {scores[min(1, len(scores) - 1)]:.3f} | {fifth:.3f} | "
        f"{scores[-1]:.3f} | {reached} | {np.mean(seconds):.2f} |"
    )


def middle_of_largest(error, spacing_mm):
    """Return the voxel deepest inside the largest connected error."""
    labels, _ = ndimage.label(error, np.ones((3, 3, 3)))
    largest = np.bincount(labels.ravel())[1:].argmax() + 1
    depth = ndimage.distance_transform_edt(labels == largest, sampling=spacing_mm)
    return tuple(int(place) for place in np.unravel_index(depth.argmax(), depth.shape))


def dice(one, other):
    """Return the Dice of two masks that are not both empty."""
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def read(path):
    """Return a file's voxels in RAS order and its voxel size."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    return np.asarray(image.dataobj), tuple(float(s) for s in image.header.get_zooms()[:3])


if __name__ == "__main__":
    main()
