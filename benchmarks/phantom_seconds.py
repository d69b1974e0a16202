"""Seconds per phantom on one core: the median over seeds, with machine and versions.

Run: python benchmarks/phantom_seconds.py [--cases 10] [--spacing-mm 3]
"""

from __future__ import annotations

import os

# Read by numpy when it is imported, so this stands before the imports below.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))

import argparse
import platform
import statistics
import time

import numpy as np
import scipy

from model.phantom.generate import generate_phantom
from model.phantom.patient import PatientOptions
from model.phantom.protocol import FieldOfView, Protocol


def main() -> None:
    """Print a table of seconds by field of view."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--spacing-mm", type=float, default=3.0)
    arguments = parser.parse_args()
    spacing = arguments.spacing_mm
    protocol = Protocol(spacing_mm=(spacing,) * 3, slice_thickness_mm=spacing)
    print(f"{platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}")
    print(f"{'field of view':16s} {'wall s':>7s} {'cpu s':>7s} {'most cpu':>9s} {'Mvoxels':>8s}")
    generate_phantom(0, protocol=protocol)
    for field in FieldOfView:
        rows = [_measure(seed, protocol, field) for seed in range(arguments.cases)]
        wall, cpu, voxels = (statistics.median(column) for column in zip(*rows, strict=True))
        most = max(row[1] for row in rows)
        print(f"{field:16s} {wall:7.2f} {cpu:7.2f} {most:9.2f} {voxels / 1e6:8.2f}")


def _measure(seed: int, protocol: Protocol, field: FieldOfView) -> tuple[float, float, int]:
    wall, cpu = time.perf_counter(), time.process_time()
    phantom = generate_phantom(seed, protocol=protocol, patient=PatientOptions(field=field))
    return time.perf_counter() - wall, time.process_time() - cpu, phantom.hu.size


if __name__ == "__main__":
    main()
