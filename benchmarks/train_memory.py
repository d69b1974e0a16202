"""Peak memory of a training step by backbone and patch, beside the estimate that users are shown.

Run: python -m benchmarks.train_memory [--out FILE]

Each line runs in a process of its own: two steps (the second has the optimiser's state) of batch 1
with 32 structures on a random image; the measure is the highest resident memory, less what the
process held before the network was built. The CPU computes; on a GPU the activations are the same,
the buffers of the convolutions are not.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

from benchmarks.machine import describe

SMALL = {"widths": (64, 96, 128), "out_channels": 32, "fold": 4, "coordinates": True}
FINE = {"widths": (32, 64, 128), "out_channels": 32, "fold": 2}
SWIN = {"feature_size": 24}
PUBLISHED_SWIN = {"feature_size": 48}
PLAIN: dict[str, Any] = {}
# Backbone, options, edge of the patch, precision, whether activations are computed twice.
ROWS: tuple[tuple[str, dict[str, Any], int, Literal["bfloat16"] | None, bool], ...] = (
    ("small_unet", SMALL, 96, None, False),
    ("small_unet", FINE, 96, None, False),
    ("small_unet", FINE, 96, None, True),
    ("small_unet", FINE, 96, "bfloat16", False),
    ("swin_unetr", SWIN, 64, None, False),
    ("swin_unetr", SWIN, 64, None, True),
    ("swin_unetr", PUBLISHED_SWIN, 64, None, False),
    ("unet", PLAIN, 64, None, False),
    ("unet", PLAIN, 64, None, True),
    ("unetpp", PLAIN, 64, None, False),
    ("unetpp", PLAIN, 64, None, True),
    ("segresnet", PLAIN, 64, None, False),
)


def main() -> None:
    """Measure every line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the table here, too")
    parser.add_argument("--row", type=int, help="measure one line (internal)")
    arguments = parser.parse_args()
    if arguments.row is not None:
        print(json.dumps(measure(arguments.row)))
        return
    report = table([run_alone(number) for number in range(len(ROWS))])
    print(report)
    if arguments.out:
        arguments.out.write_text(report + "\n")


def run_alone(number: int) -> dict[str, float]:
    """Measure one line in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.train_memory", "--row", str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def measure(number: int) -> dict[str, float]:
    """Take two steps and return their peak memory and the estimate."""
    import torch

    from configs.taxonomy import load_taxonomy
    from model.inference_settings import InferenceSettings
    from model.training import new_network
    from model.training_engine import TrainingEngine
    from model.training_memory import MemoryEstimator
    from model.training_patches import PatchTarget, TrainingBatch
    from model.training_settings import TrainingSettings

    if ROWS[number][0] not in ("small_unet", "unet"):
        import monai.networks.nets  # noqa: F401  # its memory is no training's

    torch.set_num_threads(1)
    backbone, options, edge, autocast, saving = ROWS[number]
    settings = TrainingSettings(
        backbone=backbone,
        backbone_options=options,
        inference=InferenceSettings(patch=(edge, edge, edge)),
        batch_size=1,
        autocast=autocast,
        activation_checkpointing=saving,
    )
    # A twelfth of the voxels enters head and loss, as in real patches.
    voxels = torch.arange(0, edge**3, 12)
    target = PatchTarget(
        torch.arange(32),
        voxels,
        torch.ones(len(voxels)),
        (torch.rand(32, len(voxels)) < 0.03).to(torch.uint8),
    )
    batch = TrainingBatch(torch.rand(1, 1, edge, edge, edge), (target,))
    before = peak_bytes()
    engine = TrainingEngine(
        new_network(settings, load_taxonomy().names), settings, device=torch.device("cpu")
    )
    seconds = 0.0
    for _ in range(2):
        started = time.process_time()
        engine.take([batch])
        seconds = time.process_time() - started
    measured = peak_bytes() - before
    guess = MemoryEstimator(settings).estimate(settings)
    return {
        "parameters": sum(weight.numel() for weight in engine.network.parameters()),
        "measured": measured,
        "weights": guess.weight_bytes,
        "estimated": guess.total_bytes,
        "seconds": seconds,
    }


def peak_bytes() -> int:
    """Return the highest resident memory of this process so far; Linux counts in KiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def table(rows: list[dict[str, float]]) -> str:
    """Put the figures into a Markdown text."""
    lines = [
        "# Peak memory of training by backbone and patch",
        "",
        f"`python -m benchmarks.train_memory`; {describe('torch', 'monai')}, one thread.",
        "",
        "Batch 1, 32 structures, CPU; resident memory above what the process held before the "
        "network was built. The estimate is what `atlasloop train` shows when memory is short, see "
        "`model/training_memory.py`. Seconds are of the processor, for one step.",
        "",
        "| backbone | parameters | patch | precision | checkpointing | peak MB | estimate MB | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (backbone, options, edge, autocast, saving), row in zip(ROWS, rows, strict=True):
        name = backbone
        if "feature_size" in options:
            name = f"{backbone}, {options['feature_size']} features"
        if "fold" in options:
            name = f"{backbone}, fold {options['fold']}"
        lines.append(
            f"| {name} | {row['parameters'] / 1e6:.2f} M | {edge}^3 | {autocast or 'float32'} | "
            f"{'yes' if saving else 'no'} | {row['measured'] / 1e6:.0f} | "
            f"{row['estimated'] / 1e6:.0f} | {row['seconds']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
