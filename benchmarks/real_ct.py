"""DSC of a workspace's committee on real CTs, against the labels of another model.

Run: python -m benchmarks.real_ct WORKSPACE DATA [--out FILE]

DATA is the folder with `ct/example_ct` and `ct/aorta_crop` (see its SOURCES.md). The labels are a
model's, not an expert's, and nothing was tuned on them. The CTs are taken into the workspace and
annotated with its committee; affine and shape of a full-grid mask are compared with the CT's.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import torch

from benchmarks.machine import describe
from flows.annotate import annotate
from flows.evaluate import consensus_masks
from flows.intake import intake
from model.metrics import dice
from storage.store import Store
from storage.volume import Volume, write_full_mask

# TotalSegmentator v2 value -> our structure.
EXAMPLE = {
    "spleen": (1,),
    "kidney_right": (2,),
    "kidney_left": (3,),
    "liver": (5,),
    "lung_right": (12, 13, 14),
    "lung_left": (10, 11),
    "bladder": (21,),
}


def main() -> None:
    """Annotate, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    store = Store.open(arguments.workspace)
    folders = [arguments.data / "ct" / name for name in ("example_ct", "aorta_crop")]
    taken = intake(store, [folder / "ct.nii.gz" for folder in folders])
    annotate(store)
    case_ids = {file.path.parent.name: file.case_id for file in taken.taken}
    lines = [
        describe("torch", "numpy", "nibabel"),
        "",
        "| CT | structure | DSC against model labels |",
        "|---|---|---|",
    ]
    labels = nibabel.load(folders[0] / "totalseg_v2.nii.gz")
    values = np.asarray(nibabel.as_closest_canonical(labels).dataobj)
    masks = consensus_masks(store, case_ids["example_ct"], list(EXAMPLE))
    for name, numbers in EXAMPLE.items():
        lines.append(
            f"| example_ct | {name} | {shown(dice(masks[name], np.isin(values, numbers)))} |"
        )
    aorta = nibabel.as_closest_canonical(nibabel.load(folders[1] / "aorta.nii.gz"))
    mask = consensus_masks(store, case_ids["aorta_crop"], ["aorta"])["aorta"]
    lines.append(f"| aorta_crop | aorta | {shown(dice(mask, np.asarray(aorta.dataobj) > 0))} |")
    lines += ["", *(geometry(store, folder, case_ids[folder.name]) for folder in folders)]
    print("\n".join(lines))
    if arguments.out:
        text = "\n".join(lines)
        arguments.out.write_text(
            "# Real CTs, against labels of another model\n\n"
            f"`python -m benchmarks.real_ct WORKSPACE DATA`, committee of the demo\n\n{text}\n"
        )


def shown(value: object) -> str:
    """Return a DSC with two digits, or what it is instead."""
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def geometry(store: Store, folder: Path, case_id: str) -> str:
    """Write the liver on the CT's grid and say whether shape and affine are the CT's."""
    volume = Volume.open(folder / "ct.nii.gz")
    mask = consensus_masks(store, case_id, ["liver"])["liver"]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "liver.nii.gz"
        write_full_mask(path, mask, volume.grid)
        written, ct = nibabel.load(path), nibabel.load(folder / "ct.nii.gz")
        same = written.shape == ct.shape and np.array_equal(written.affine, ct.affine)
    middle = mask.shape[0] / 2
    right = float((np.argwhere(mask)[:, 0] > middle).mean()) if mask.any() else float("nan")
    return (
        f"{folder.name}: full-grid mask has the CT's shape and affine: {same}; share of the "
        f"liver's voxels on the patient's right half: {right:.2f}"
    )


if __name__ == "__main__":
    main()
