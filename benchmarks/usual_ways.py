"""One committee member on one CT: AtlasLoop's pass against the usual ways with MONAI.

Run: python -m benchmarks.usual_ways WORKSPACE CT OUT [--model small] [--shape 256 256 160]
         [--working-mm 1.5] [--device cpu] [--precision bfloat16] [--repeats 3]

WORKSPACE has trained weights, such as that of `atlasloop demo`; CT is any file, resampled here to
the shape. With ``--working-mm`` the network runs on a finer grid than it was trained on, in windows
of 96 voxels: its masks then mean little, its cost is that of published models' grids. Every way
runs in processes of its own, in turn, so often as --repeats says, and medians are given:

- **files**: MONAI's sliding window over everything, all structures as float32 at working and then
  at native size, and a full-size file per structure;
- **multilabel**: the same with one uint8 file, the last structure in front;
- **ours, matching**: `predict_volume` and what `annotate` stores (masks of the member and the
  consensus, two maps, scores), every window as the others have it;
- **ours**: the default: windows where there is body alone, and the rules of post-processing.

All see the same working volume (ours to make it), weights, precision and windows. Peaks are of
resident memory above what the process held with its libraries and the network loaded.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import sliding_window_inference
from monai.transforms import SpatialResample
from scipy import ndimage
from torch import Tensor, nn

from benchmarks.machine import describe
from benchmarks.own_process import Peak, resident_bytes, run_alone, workspace_parser
from configs.post_process import shipped_post_process
from configs.taxonomy import load_taxonomy
from flows.case_manifest import stored_manifest
from flows.init import init
from model.annotate import AnnotateOptions, predict_volume
from model.checkpoint import load_checkpoint
from model.committee import CommitteeMember
from model.inference_settings import InferenceSettings
from model.metrics import Agreement, dice
from model.network_options import NetworkOptions, autocast
from model.resample import to_working
from storage.masks import decode_mask
from storage.model_registry import CommitteeRecord, registered_model
from storage.objects import ObjectStore
from storage.predictions import nested_box
from storage.store import Store
from storage.volume import Volume

WAYS = ("files", "multilabel", "ours, matching", "ours")
SMALLEST_ML = 1.0


def main() -> None:
    """Run every way, compare the masks and print the tables."""
    arguments = parse()
    if arguments.way is not None:
        print(json.dumps(measure(arguments)))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    make_ct(arguments)
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(arguments.repeats):
        for way in WAYS:
            runs[way].append(run_alone("benchmarks.usual_ways", "--way", way))
    medians = {
        way: {key: statistics.median(run[key] for run in found) for key in found[0]}
        for way, found in runs.items()
    }
    text = report(arguments, medians)
    print(text)
    (arguments.out / "report.md").write_text(text + "\n")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = workspace_parser(__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(256, 256, 160))
    parser.add_argument("--working-mm", type=float)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help="run one way (internal)")
    return parser.parse_args()


def make_ct(arguments: argparse.Namespace) -> None:
    """Resample the CT to the shape that is asked for; its extent stays."""
    image = nibabel.as_closest_canonical(nibabel.load(arguments.ct))
    hu = np.asarray(image.dataobj).astype(np.float32)
    factors = [wanted / size for wanted, size in zip(arguments.shape, hu.shape, strict=True)]
    resampled = ndimage.zoom(hu, factors, order=1).round().astype(np.int16)
    spacing = np.asarray(image.header.get_zooms()[:3]) / factors
    nibabel.save(
        nibabel.Nifti1Image(resampled, np.diag([*spacing, 1.0])), arguments.out / "ct.nii.gz"
    )


class Timed(nn.Module):
    """A network that adds up its own seconds."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.seconds = network, 0.0

    def forward(self, images: Tensor, structure_index: Tensor | None = None) -> Tensor:
        """Run the network and wait for it."""
        synchronize(images.device)
        started = time.perf_counter()
        logits = self.network(images, structure_index)
        synchronize(images.device)
        self.seconds += time.perf_counter() - started
        return logits


def synchronize(device: torch.device) -> None:
    """Wait for what was asked of a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Run one way from the CT's file to the files it leaves."""
    device = torch.device(arguments.device)
    member = load_member(arguments, device)
    folder = arguments.out / arguments.way.replace(", ", "-")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    # What the first call of a network allocates for good belongs to no way.
    with torch.inference_mode(), autocast(device, arguments.precision):
        member.network(torch.zeros((1, 1, *member.inference.patch), device=device), None)
    member.network.seconds = 0.0
    store = init(folder / "workspace")
    before, started = resident_bytes(), time.perf_counter()
    watch = Peak()
    if arguments.way.startswith("ours"):
        ours(arguments, member, store, device)
    else:
        usual(arguments, member, folder, device)
    seconds = time.perf_counter() - started
    result = {
        "seconds": seconds,
        "network": member.network.seconds,
        "peak": watch.highest() - before,
        "bytes": sum(path.stat().st_size for path in written(folder) if path.is_file()),
    }
    if device.type == "cuda":
        result["gpu"] = torch.cuda.max_memory_allocated(device)
    return result


def written(folder: Path) -> list[Path]:
    """Return what a way has left: masks, and for ours maps and a manifest, without the index."""
    return [*folder.glob("*.nii.gz"), *(folder / "workspace" / "objects").rglob("*")]


def load_member(arguments: argparse.Namespace, device: torch.device) -> CommitteeMember:
    """Load the model, on the working grid that is asked for."""
    store = Store.open(arguments.workspace)
    model = registered_model(store, arguments.model)
    loaded = load_checkpoint(store.objects.path(model.weights))
    inference = replace(loaded.inference, overlap=0.5)
    if arguments.working_mm:
        working = (arguments.working_mm,) * 3
        inference = replace(inference, spacing_mm=working, patch=(96, 96, 96))
    return CommitteeMember(
        name=model.name,
        family=model.name,
        network=Timed(loaded.network).to(device).eval(),
        inference=inference,
        structures=loaded.network.structures,
    )


def ours(
    arguments: argparse.Namespace, member: CommitteeMember, store: Store, device: torch.device
) -> None:
    """Annotate and store as a run does."""
    volume = Volume.open(arguments.out / "ct.nii.gz")
    rules = shipped_post_process() if arguments.way == "ours" else None
    network = NetworkOptions(
        batch_size=arguments.batch,
        precision=arguments.precision,
        body_only=arguments.way == "ours",
    )
    prediction = predict_volume(
        volume.read_ras(),
        volume.grid.ras_spacing_mm,
        [member],
        taxonomy=load_taxonomy(),
        device=device,
        options=AnnotateOptions(network=network, rules=rules),
    )
    committee = CommitteeRecord("benchmark", (), rules)
    manifest = stored_manifest(store, "case", committee, volume.grid, prediction.results())
    path = store.workspace.objects_path / "manifest.json"
    path.write_text(json.dumps(manifest.to_json()))


def usual(
    arguments: argparse.Namespace, member: CommitteeMember, folder: Path, device: torch.device
) -> None:
    """Keep all structures as full tensors, and write full-size files."""
    volume = Volume.open(arguments.out / "ct.nii.gz")
    settings = member.inference
    working = to_working(
        volume.read_ras(), volume.grid.ras_spacing_mm, settings.spacing_mm, device=device
    )
    with torch.inference_mode(), autocast(device, arguments.precision):
        logits = sliding_window_inference(
            settings.scale(working)[None, None],
            settings.patch,
            arguments.batch,
            lambda images: member.network(images, None).float(),
            overlap=settings.overlap,
            mode="gaussian",
        )
    affine = volume.grid.affine_matrix
    with torch.inference_mode():
        full = SpatialResample(mode="bilinear", padding_mode="border")(
            MetaTensor(torch.sigmoid(logits[0]), affine=working_affine(volume, settings)),
            dst_affine=torch.from_numpy(affine),
            spatial_size=volume.grid.ras_shape,
        )
        masks = (full > 0.5).cpu().numpy()
    if arguments.way == "files":
        for name, mask in zip(member.structures, masks, strict=True):
            nibabel.save(
                nibabel.Nifti1Image(mask.astype(np.uint8), affine), folder / f"{name}.nii.gz"
            )
        return
    labels = np.zeros(masks.shape[1:], np.uint8)
    for number, mask in enumerate(masks, start=1):
        labels[mask] = number
    nibabel.save(nibabel.Nifti1Image(labels, affine), folder / "labels.nii.gz")


def working_affine(volume: Volume, settings: InferenceSettings) -> Tensor:
    """Return where the working grid lies: both grids share their outer edge."""
    native, working = volume.grid.spacing_mm, settings.spacing_mm
    affine = torch.from_numpy(volume.grid.affine_matrix).clone()
    for axis in range(3):
        affine[axis, axis] = working[axis]
        affine[axis, 3] += (working[axis] - native[axis]) / 2
    return affine


def report(arguments: argparse.Namespace, rows: dict[str, dict[str, float]]) -> str:
    """Return the tables."""
    base = rows["multilabel"]
    lines = [
        "# Against the usual ways",
        "",
        f"`python -m benchmarks.usual_ways WORKSPACE CT OUT {' '.join(sys.argv[4:])}`; "
        f"{describe('torch', 'monai', 'numpy')}.",
        "",
        f"CT {arguments.shape}, one member with 32 structures, {arguments.device}, "
        f"{arguments.precision}; medians of {arguments.repeats}.",
        "",
        "| way | wall s | network s | outside | peak MB | of (b)'s peak | written MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for way, row in rows.items():
        outside = 1 - row["network"] / row["seconds"]
        lines.append(
            f"| {way} | {row['seconds']:.1f} | {row['network']:.1f} | {outside:.0%} | "
            f"{row['peak'] / 1e6:.0f} | {row['peak'] / base['peak']:.2f} | "
            f"{row['bytes'] / 1e6:.2f} |"
        )
    values, voxel_ml = agreement(arguments)
    above = {name: (value, n) for name, (value, n) in values.items() if n * voxel_ml > SMALLEST_ML}
    worst = min(above, key=lambda name: above[name][0])
    lines += [
        "",
        f"DSC of *ours, matching* against *files*: {len(above)} structures above {SMALLEST_ML} mL, "
        f"lowest {above[worst][0]:.5f} ({worst}), median "
        f"{statistics.median(value for value, _ in above.values()):.5f}.",
    ]
    return "\n".join(lines)


def agreement(arguments: argparse.Namespace) -> tuple[dict[str, tuple[float, int]], float]:
    """Return DSC and voxels of every structure that the files hold, and a voxel's volume."""
    grid = Volume.open(arguments.out / "ct.nii.gz").grid
    folder = arguments.out / "ours-matching"
    manifest = json.loads((folder / "workspace" / "objects" / "manifest.json").read_text())
    stored = {one["structure"]: one for one in manifest["masks"] if one["member"] == "committee"}
    found = {}
    for path in sorted((arguments.out / "files").glob("*.nii.gz")):
        name = path.name.removesuffix(".nii.gz")
        mask = np.asarray(nibabel.load(path).dataobj) > 0
        own = np.zeros(mask.shape, np.bool_)
        if name in stored:
            digest = stored[name]["object"]
            box = nested_box(tuple(stored[name]["box"]))
            own = decode_mask(ObjectStore(folder / "workspace" / "objects").read(digest), box, grid)
        if mask.any() or own.any():
            overlap = dice(own, mask)
            if not isinstance(overlap, Agreement):
                found[name] = (overlap, int(mask.sum()))
    return found, float(np.prod(grid.spacing_mm)) / 1000


if __name__ == "__main__":
    main()
