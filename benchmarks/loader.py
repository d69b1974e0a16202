"""The loader alone: patches a second and core, bytes of a CT, and how many GPUs they feed.

Run: python -m benchmarks.loader [--seconds S] [--step-seconds S] [--batch N] [--out FILE]

Phantom CTs of the whole trunk at 3 mm, with all 32 structures annotated, are prepared through the
cache as training does, once at 1.5 mm and once at the demo's grid; then patches are drawn for some
seconds in each setting, with one thread of tensor work each. Nothing is trained.
"""

from __future__ import annotations

import os

# Read by torch when it is imported: one thread a core that draws.
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import gc
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import describe
from configs.demo_members import load_demo_members
from configs.taxonomy import load_taxonomy
from flows.training_cases import TrainingSources
from flows.training_data import training_data
from model.augmentation import PAPER_AUGMENTATION, AugmentationSettings
from model.batch_stream import batch_at, stream
from model.inference_settings import InferenceSettings
from model.phantom.generate import generate_phantom
from model.phantom.patient import PatientOptions
from model.phantom.protocol import FieldOfView, Protocol
from model.training_patches import PatchSampler, TrainingBatch, patch_sampler
from model.training_samples import sample_from_arrays
from storage.cohort import (
    CaseRecord,
    CohortCase,
    CohortLesion,
    begin_cohort,
    finish_cohort,
    write_case,
)
from storage.sample_cache import SampleCache

CASES = 2
BACKGROUND_SHARE = 0.1
COLD_PATCHES = 8
SETTINGS: dict[str, AugmentationSettings | None] = {
    "none": None,
    "the paper's": PAPER_AUGMENTATION,
    "turns, scales and noise in half": AugmentationSettings(affine_share=0.5),
    "the default (in all)": AugmentationSettings(),
}


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast patches are drawn.

    Attributes:
        core: Patches per second of processor time, in line on one core.
        wall: Patches per second of the clock, in line.
        workers_core: Patches per second of processor time, all workers together.
        workers_wall: Patches per second of the clock, through one worker a core.
    """

    core: float
    wall: float
    workers_core: float
    workers_wall: float


@dataclass(frozen=True, slots=True)
class Loader:
    """What was measured on one grid.

    Attributes:
        voxels: Of a CT.
        file_bytes: Of a CT.
        prepare_s: Of a CT, from its files to its sample.
        opening_s: Of a CT, when its sample is there, all checksums included.
        cold: Patches a second from a disk that was not read yet.
        rates: By augmentation.
    """

    inference: InferenceSettings
    voxels: int
    file_bytes: int
    prepare_s: float
    opening_s: float
    cold: float | None
    rates: dict[str, Rate]


def make_cases(root: Path) -> Sequence[CohortCase]:
    """Write phantoms with every structure annotated."""
    names = load_taxonomy().names
    begin_cohort(root, seed=0, sites_digest="loader")
    protocol = Protocol(spacing_mm=(3.0, 3.0, 3.0), slice_thickness_mm=3.0)
    plan = [("site", f"case_{number}") for number in range(CASES)]
    for number, (site, case) in enumerate(plan):
        phantom = generate_phantom(
            number, protocol=protocol, patient=PatientOptions(field=FieldOfView.TRUNK)
        )
        record = CaseRecord(
            site=site,
            role="train",
            case=case,
            patient=case,
            seed=number,
            annotated=names,
            facts={},
            lesions=tuple(CohortLesion(**asdict(lesion)) for lesion in phantom.lesions),
        )
        write_case(root, record, hu=phantom.hu, spacing_mm=phantom.spacing_mm, masks=phantom.masks)
    return finish_cohort(root, seed=0, cases=plan).cases


def rate(sampler: PatchSampler, *, seconds: float, batch: int, cores: int) -> Rate:
    """Draw for some seconds in line, then as long through the workers."""
    in_line = stream(sampler, first_step=1, last_step=10**9, batch_size=batch, seed=0)
    ahead = stream(sampler, first_step=1, last_step=10**9, batch_size=batch, seed=0, workers=cores)
    next(in_line)
    core, wall = _drain(in_line, seconds, batch)
    for _ in range(2 * cores):
        next(ahead)
    workers_core, workers_wall = _drain(ahead, seconds, batch)
    return Rate(core, wall, workers_core, workers_wall)


def _drain(batches: Iterator[TrainingBatch], seconds: float, batch: int) -> tuple[float, float]:
    """Return patches per second of processor time and of the clock."""
    cpu, started, patches = time.process_time(), time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        next(batches)
        patches += batch
    wall = time.perf_counter() - started
    return patches / (time.process_time() - cpu), patches / wall


def cold_rate(cache: SampleCache, inference: InferenceSettings) -> float | None:
    """Return patches a second right after the files were dropped from the system's memory."""
    paths = sorted(cache.root.rglob("*.sample"))
    if not hasattr(os, "posix_fadvise"):
        return None
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    unread = SampleCache(cache.root, verify=False)
    stored = [unread.get(path.stem) for path in paths]
    sampler = patch_sampler(
        [sample_from_arrays(one.arrays) for one in stored if one is not None],
        load_taxonomy().names,
        patch=inference.patch,
        background_share=BACKGROUND_SHARE,
    )
    started = time.perf_counter()
    batch_at(sampler, step=1, batch_size=COLD_PATCHES, seed=1)
    return COLD_PATCHES / (time.perf_counter() - started)


def measure(
    inference: InferenceSettings,
    cases: Sequence[CohortCase],
    cache: SampleCache,
    *,
    seconds: float,
    batch: int,
) -> Loader:
    """Prepare the cases on one grid, then draw from them in every setting."""
    names, cores = load_taxonomy().names, len(os.sched_getaffinity(0))
    sources = TrainingSources(cohort_cases=cases)
    started = time.perf_counter()
    data = training_data(sources, names, inference, cache=cache)
    prepare_s = (time.perf_counter() - started) / len(cases)
    voxels = sum(sample.image.numel() for sample in data.samples) // len(cases)
    file_bytes = data.file_bytes // len(cases)
    del data
    gc.collect()
    cold = cold_rate(cache, inference)
    gc.collect()
    started = time.perf_counter()
    data = training_data(sources, names, inference, cache=cache)
    opening_s = (time.perf_counter() - started) / len(cases)
    rates = {}
    for name, augmentation in SETTINGS.items():
        sampler = patch_sampler(
            data.samples,
            names,
            patch=inference.patch,
            background_share=BACKGROUND_SHARE,
            augmentation=augmentation,
        )
        rates[name] = rate(sampler, seconds=seconds, batch=batch, cores=cores)
    return Loader(inference, voxels, file_bytes, prepare_s, opening_s, cold, rates)


def size_lines(found: Loader) -> list[str]:
    """Return what a CT takes."""
    planes = 32 * found.voxels
    return [
        f"A CT has {found.voxels / 1e6:.2f} million voxels on this grid and its file "
        f"{found.file_bytes / 1e6:.1f} MB, candidate centres included: 6 bytes a voxel with all 32 "
        "structures annotated (2 for the image, 1 for every 8 annotated structures), 3 with up to "
        f"8. 32 uint8 channels alone take {planes / 1e6:.1f} MB, "
        f"{planes / found.file_bytes:.1f} times as much. Preparing took {found.prepare_s:.1f} s a "
        f"CT, opening with all checksums {1000 * found.opening_s:.0f} ms.",
    ]


def rate_lines(found: Loader, *, step_seconds: float, batch: int) -> list[str]:
    """Return the table of one grid."""
    cores = len(os.sched_getaffinity(0))
    patch = found.inference.patch
    patch_bytes = 6 * patch[0] * patch[1] * patch[2]
    need = batch / step_seconds
    lines = [
        f"| augmentation | patches a core second | MB/s of samples | by the clock, in line | "
        f"{cores} workers: patches a core second | by the clock | GPUs fed by 16 cores |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, speed in found.rates.items():
        lines.append(
            f"| {name} | {speed.core:.1f} | {speed.core * patch_bytes / 1e6:.0f} | "
            f"{speed.wall:.1f} | {speed.workers_core:.1f} | {speed.workers_wall:.1f} | "
            f"{16 * speed.core / need:.0f} |"
        )
    if found.cold is not None:
        lines += [
            "",
            f"The first {COLD_PATCHES} patches after the files were dropped from the system's "
            f"memory, without augmentation, in line, by the clock: {found.cold:.1f} patches/s.",
        ]
    return lines


def report(seconds: float, step_seconds: float, batch: int) -> str:
    """Measure everything and return the page."""
    preset = load_demo_members().find("small")
    grids = {
        "96^3 at 1.5 mm": InferenceSettings(),
        "The demo: 48^3 at 7.5 mm": InferenceSettings(
            spacing_mm=preset.spacing_mm, hu_window=preset.hu_window, patch=preset.patch
        ),
    }
    lines = [
        "# Patches from cached samples",
        "",
        describe("torch", "numpy"),
        "",
        f"Command: `python -m benchmarks.loader --seconds {seconds:g} --step-seconds "
        f"{step_seconds:g} --batch {batch}`. {CASES} procedural phantoms of the trunk at 3 mm, all "
        "32 structures annotated; one thread of tensor work a core; the files lie in the system's "
        "memory unless it says otherwise. A core second is a second of processor time, which other "
        f"work on the machine does not take away (load {os.getloadavg()[0]:.1f} at the start); by "
        "the clock it does. MB/s are the bytes of image and labels inside the patches, per core "
        f"second. GPUs: of a kind that takes {step_seconds:g} s for a step of {batch} patches "
        "(stated, not measured), by 16 cores at the rate of one, so an upper bound.",
    ]
    with tempfile.TemporaryDirectory() as folder:
        cases = make_cases(Path(folder) / "cohort")
        for number, (title, inference) in enumerate(grids.items()):
            cache = SampleCache(Path(folder) / f"cache {number}")
            found = measure(inference, cases, cache, seconds=seconds, batch=batch)
            table = rate_lines(found, step_seconds=step_seconds, batch=batch)
            lines += ["", f"## {title}", "", *size_lines(found), "", *table]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the command line and print the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--step-seconds", type=float, default=0.5)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    text = report(arguments.seconds, arguments.step_seconds, arguments.batch)
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
