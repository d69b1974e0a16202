"""Seconds and memory of each stage of annotating, against the size of a CT; and CTs a minute.

Run: python -m benchmarks.annotate_scale WORKSPACE CT OUT [--model small]
         [--slices 280 458 824 1200] [--plane 512] [--cases 24] [--workers 2]

WORKSPACE has trained weights, such as that of `atlasloop demo`; CT is any file, resampled here to
512 x 512 x slices, each in its own process. First the network computes and its answers are kept;
then they are played back, as a network of no cost. Memory is the highest resident memory of a stage
above what the process held with its libraries, the network and the answers loaded. Then workers
forked from one process annotate 256^3 CTs with the network of no cost, through leases, journal and
database as a run does.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import nibabel
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

import flows.annotate
from benchmarks.machine import describe
from benchmarks.own_process import Peak, resident_bytes, run_alone, workspace_parser
from benchmarks.usual_ways import Timed
from configs.post_process import shipped_post_process
from configs.taxonomy import load_taxonomy
from flows.annotate import annotate
from flows.case_manifest import stored_manifest
from flows.init import init
from flows.intake import intake
from model.annotate import AnnotateOptions, predict_volume
from model.checkpoint import load_checkpoint
from model.committee import CommitteeMember
from model.network_options import NetworkOptions
from storage.model_registry import (
    CommitteeRecord,
    register_model,
    registered_model,
)
from storage.store import Store
from storage.volume import Volume

T = TypeVar("T")
STAGES = ("read", "predict", "write")


class Recorded(nn.Module):
    """A network whose answers are kept, and then given again for nothing."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.answers: list[Tensor] = []
        self.at = -1

    def play(self) -> None:
        """From now on give the answers again, round and round."""
        self.at = 0

    def forward(self, images: Tensor, structure_index: Tensor | None = None) -> Tensor:
        """Compute and keep, or give again."""
        if self.at < 0:
            logits = self.network(images, structure_index)
            self.answers.append(logits)
            return logits
        answer = self.answers[self.at]
        self.at = (self.at + 1) % len(self.answers)
        return answer


@dataclass(slots=True)
class Stopwatch:
    """Seconds and highest memory of each stage."""

    base: int = field(default_factory=resident_bytes)
    figures: dict[str, float] = field(default_factory=dict)

    def stage(self, name: str, act: Callable[[], T]) -> T:
        """Time one stage."""
        peak, started = Peak(), time.perf_counter()
        result = act()
        self.figures[f"{name}_s"] = time.perf_counter() - started
        self.figures[f"{name}_mb"] = (peak.highest() - self.base) / 1e6
        return result


def main() -> None:
    """Measure every size, then the throughput, and print the tables."""
    arguments = parse()
    if arguments.only is not None:
        print(json.dumps(measure(arguments, arguments.only)))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = [run_alone("benchmarks.annotate_scale", "--only", one) for one in arguments.slices]
    lines = report(arguments, rows)
    if arguments.cases:
        lines += ["", throughput(arguments)]
    text = "\n".join(lines)
    print(text)
    (arguments.out / "report.md").write_text(text + "\n")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = workspace_parser(__doc__)
    parser.add_argument("--slices", type=int, nargs="*", default=(280, 458, 824, 1200))
    parser.add_argument("--plane", type=int, default=512)
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", type=int, help="measure one size (internal)")
    return parser.parse_args()


def measure(arguments: argparse.Namespace, slices: int) -> dict[str, dict[str, float]]:
    """Annotate one CT twice: with the network, and with its answers."""
    torch.set_num_threads(arguments.threads)
    path = arguments.out / f"{slices}.nii.gz"
    write_ct(arguments.ct, path, (arguments.plane, arguments.plane, slices))
    member, network = recorded_member(arguments)
    figures = {"network": once(path, member, arguments.out / "objects")}
    figures["network"]["forward_s"] = network.network.seconds
    network.play()
    figures["no cost"] = once(path, member, arguments.out / "objects")
    figures["no cost"]["forward_s"] = 0.0
    path.unlink()
    return figures


def once(path: Path, member: CommitteeMember, folder: Path) -> dict[str, float]:
    """Take one CT through the stages, one after the other."""
    shutil.rmtree(folder, ignore_errors=True)
    gc.collect()
    watch = Stopwatch()
    volume = Volume.open(path)
    # The volume is held by nothing else, as in a run.
    voxels = [watch.stage("read", volume.read_ras)]
    rules = shipped_post_process()
    options = AnnotateOptions(network=NetworkOptions(precision="bfloat16"), rules=rules)
    prediction = watch.stage(
        "predict",
        lambda: predict_volume(
            voxels.pop(),
            volume.grid.ras_spacing_mm,
            [member],
            taxonomy=load_taxonomy(),
            device=torch.device("cpu"),
            options=options,
        ),
    )
    store, committee = init(folder), CommitteeRecord("benchmark", (), rules)
    manifest = watch.stage(
        "write",
        lambda: stored_manifest(store, "case", committee, volume.grid, prediction.results()),
    )
    return {
        **watch.figures,
        "voxels": float(np.prod(volume.grid.shape)),
        "masks": float(len(manifest.masks)),
        "written_mb": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        / 1e6,
    }


def recorded_member(arguments: argparse.Namespace) -> tuple[CommitteeMember, Recorded]:
    """Load the model so that its answers are kept."""
    store = Store.open(arguments.workspace)
    loaded = load_checkpoint(store.objects.path(registered_model(store, arguments.model).weights))
    network = Recorded(Timed(loaded.network))
    member = CommitteeMember(
        name=arguments.model,
        family=arguments.model,
        network=network.eval(),
        inference=loaded.inference,
        structures=loaded.network.structures,
    )
    return member, network


def write_ct(source: Path, target: Path, shape: tuple[int, int, int], seed: int = 0) -> None:
    """Resample a CT to a shape, its extent kept, and add a little noise that the seed draws."""
    image = nibabel.as_closest_canonical(nibabel.load(source))
    hu = np.asarray(image.dataobj).astype(np.int16)
    factors = [wanted / size for wanted, size in zip(shape, hu.shape, strict=True)]
    resampled = ndimage.zoom(hu, factors, order=1)
    noise = np.random.default_rng(seed).integers(-6, 7, shape, np.int16)
    spacing = np.asarray(image.header.get_zooms()[:3]) / factors
    affine = np.diag([*spacing, 1.0])
    nibabel.save(nibabel.Nifti1Image(resampled + noise, affine), target)


def throughput(arguments: argparse.Namespace) -> str:
    """Annotate 256^3 CTs with the network of no cost and return the rate in words."""
    root = arguments.out / "workspace"
    shutil.rmtree(root, ignore_errors=True)
    shutil.rmtree(arguments.out / "cts", ignore_errors=True)
    (arguments.out / "cts").mkdir()
    for number in range(arguments.cases):
        path = arguments.out / "cts" / f"{number}.nii.gz"
        write_ct(arguments.ct, path, (256, 256, 256), seed=number)
    member, network = recorded_member(arguments)
    once(arguments.out / "cts" / "0.nii.gz", member, arguments.out / "objects")
    network.play()
    store = workspace_of_two(root)
    intake(store, [arguments.out / "cts"])
    # One member, though the settings name two: its answers are what the networks would give.
    flows.annotate.load_members = lambda *_: [member]  # type: ignore[assignment]
    torch.set_num_threads(1)
    started = time.perf_counter()
    fork = multiprocessing.get_context("fork")
    team = [fork.Process(target=annotate_workspace, args=(root,)) for _ in range(arguments.workers)]
    for process in team:
        process.start()
    for process in team:
        process.join()
    seconds = time.perf_counter() - started
    with Store.open(root).read() as connection:
        closed = connection.execute("SELECT count(*) FROM predictions").fetchone()
    count = closed[0] if closed else 0
    return (
        f"{count} CTs of 256^3 with a network of no cost, {arguments.workers} processes of one "
        f"thread: {seconds:.0f} s, **{60 * count / seconds:.1f} CT/min**."
    )


def annotate_workspace(root: Path) -> None:
    """Annotate what is unfinished, as one of several processes."""
    annotate(Store.open(root), announce=lambda _: None)


def workspace_of_two(root: Path) -> Store:
    """Return a workspace whose committee of two names weights that are never loaded."""
    store = init(root)
    register_model(store, "none", b"not loaded", {})
    member = '[[committee]]\nname = "{0}"\nfamily = "{0}"\nweights = "none"\n'
    with store.workspace.settings_path.open("a") as file:
        file.write('[annotate]\ndevice = "cpu"\nautocast = "off"\nwindow_batch = 1\n')
        file.write(member.format("a") + member.format("b"))
    return Store.open(root)


def report(arguments: argparse.Namespace, rows: list[dict[str, dict[str, float]]]) -> list[str]:
    """Return the table, and the line that memory follows."""
    lines = [
        "# Stages of annotating against the size of a CT",
        "",
        f"`python -m benchmarks.annotate_scale WORKSPACE CT OUT`; {describe('torch', 'numpy')}.",
        "",
        f"Plane {arguments.plane} x {arguments.plane}, one member ({arguments.model}), 32 "
        "structures, bfloat16, CPU; stages one after the other. Seconds and peak MB.",
        "",
        "| slices | network | read | predict | of it forward | write | masks | written MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for slices, row in zip(arguments.slices, rows, strict=True):
        for kind, figures in row.items():
            cells = " | ".join(
                f"{figures[f'{stage}_s']:.1f} s, {figures[f'{stage}_mb']:.0f} MB"
                + (f" | {figures['forward_s']:.1f} s" if stage == "predict" else "")
                for stage in STAGES
            )
            lines.append(
                f"| {slices} | {kind} | {cells} | {figures['masks']:.0f} | "
                f"{figures['written_mb']:.1f} |"
            )
    if len(rows) > 2:
        voxels = np.array([row["network"]["voxels"] for row in rows])
        peaks = np.array([max(row["network"][f"{one}_mb"] for one in STAGES) for row in rows])
        slope, intercept = np.polyfit(voxels, peaks * 1e6, 1)
        off = float(np.abs((intercept + slope * voxels) / (peaks * 1e6) - 1).max())
        lines += [
            "",
            f"**Peak = {intercept / 1e6:.0f} MB + {slope:.2f} bytes x voxels** (least squares over "
            f"{len(rows)} sizes, largest deviation {off:.1%}).",
        ]
    return lines


if __name__ == "__main__":
    main()
