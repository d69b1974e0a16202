"""Reduced precision only where it decides as float32 does; found out once for a workspace."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from configs.errors import ConfigError
from model.committee import CommitteeMember
from model.grid import Triple
from model.network_options import NetworkOptions
from model.precision import differing_share
from storage.durable_file import durable
from storage.store import Store

_LOG = logging.getLogger(__name__)


def checked_options(
    store: Store,
    committee_id: str,
    options: NetworkOptions,
    sample: tuple[npt.NDArray[np.int16], Triple],
    members: list[CommitteeMember],
) -> NetworkOptions:
    """Return the options, in float32 where the reduced precision is not within its tolerance.

    The first CT that a committee sees on a kind of device decides, and the answer is kept in
    ``cache/precision.json``, so that every later run computes alike. With ``annotate.autocast`` set
    to a precision, and not to ``auto``, leaving the tolerance is an error.

    Args:
        store: The workspace.
        committee_id: Whose answer it is.
        options: What the settings ask for.
        sample: A CT's voxels, shape (I, J, K), and its spacing.
        members: The committee; networks in evaluation mode on their device.

    Raises:
        ConfigError: A precision that was set is not within its tolerance.
    """
    if options.precision == "float32":
        return options
    device = next(members[0].network.parameters()).device
    path = store.workspace.samples_path.parent / "precision.json"
    known = _known(path)
    key = f"{committee_id} {options.precision} {_device_name(device)} torch {torch.__version__}"
    if key not in known:
        known[key] = {
            member.name: differing_share(
                member, *sample, precision=options.precision, device=device
            )
            for member in members
        }
        _keep(path, known)
    return _within_tolerance(store, options, known[key])


def _within_tolerance(
    store: Store, options: NetworkOptions, shares: dict[str, float]
) -> NetworkOptions:
    settings = store.settings.annotate
    worst = max(shares, key=lambda name: shares[name])
    if shares[worst] <= settings.precision_tolerance:
        return options
    found = (
        f"in {options.precision} {worst} decides on {shares[worst]:.2%} of its foreground "
        f"otherwise than in float32, the tolerance is {settings.precision_tolerance:.2%}"
    )
    if settings.autocast != "auto":
        raise ConfigError(
            f"{found}; set annotate.autocast to auto or off, or raise annotate.precision_tolerance"
        )
    _LOG.warning("%s; float32 is used", found)
    return replace(options, precision="float32")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _known(path: Path) -> dict[str, dict[str, float]]:
    """Return the kept answers; a damaged file is as good as none."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _keep(path: Path, known: dict[str, dict[str, float]]) -> None:
    with durable(path) as file:
        file.write_text(json.dumps(known, indent=1, sort_keys=True))
