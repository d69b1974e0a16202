"""Import published weights into the workspace's models, and show what models there are."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UsageError
from configs.setting_sections import MemberSettings
from configs.taxonomy import shipped_taxonomy
from model.checkpoint import save_checkpoint
from model.encoding import TextVectors
from model.model_card import InheritedLicence, licences
from model.published_weights import (
    PUBLISHED_INFERENCE,
    ImportedNetwork,
    ImportReport,
    import_published,
)
from model.structure_vectors import load_vectors
from model.text_encoding import read_text_vectors
from model.weights_file import read_weights_file
from storage.canonical_json import JsonObject
from storage.encoding_registry import find_encoding
from storage.model_registry import RegisteredModel, register_model, registered_models
from storage.store import Store
from storage.workspace import join_committee

LICENCE = "CC BY-NC-ND 4.0"
LICENCE_FLAG = "nc-nd"
LICENCE_NOTICE = (
    "The weights that the authors of the CLIP-driven universal model, SuPreM and AbdomenAtlas "
    f"publish are under {LICENCE} (https://creativecommons.org/licenses/by-nc-nd/4.0/): their "
    "authors must be named, they may not be used commercially, and what is derived from them, "
    "such as retrained weights, may not be shared. AtlasLoop neither ships them nor grants any "
    "right to them. Nothing was imported; read the licence where you got the file, and if you "
    "accept it, give the command again with --accept-license"
)

# Channels that the published training knows from one dataset alone.
_SINGLE_SOURCE = (
    *("portal_vein_and_splenic_vein", "hepatic_vessel", "lung_right", "lung_left", "colon"),
    *("intestine", "rectum", "prostate", "femur_head_left", "femur_head_right", "celiac_trunk"),
    *("kidney_tumor", "pancreas_tumor", "hepatic_vessel_tumor", "lung_tumor", "colon_tumor"),
    "kidney_cyst",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFileFacts:
    """A weights file as it was found.

    Attributes:
        wrappers: Entries that were opened to reach the tensors.
        left_aside: Other entries of the file, never used.
    """

    name: str
    bytes: int
    sha256: str
    wrappers: tuple[str, ...]
    left_aside: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """What an import gave."""

    model: RegisteredModel
    file: WeightsFileFacts
    report: ImportReport


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What the caller says beside the file.

    Attributes:
        text_encoding: File with the text encodings, or the name of an encoding that the workspace
            stores; needed where the weights come without.
        accept_license: Whether the licence of the weights was read and accepted.
        join: Whether to append the model to the committee in ``atlasloop.toml``.
    """

    text_encoding: str | None = None
    accept_license: bool = False
    join: bool = False


def import_weights(store: Store, path: Path, *, name: str, options: ImportOptions) -> ImportSummary:
    """Check a published universal checkpoint tensor by tensor and register it under a name.

    The workspace gets a checkpoint of its own format and a card; the file itself is not kept.

    Args:
        store: The workspace.
        path: A ``.safetensors`` file or one that ``torch.save`` wrote.
        name: Of the model and, when it joins, of the committee member.
        options: Text encodings, licence and committee.

    Raises:
        UsageError: The licence is not accepted, or the name cannot be used.
        ModelError: The file is not whole, not safe to open or not such a checkpoint, or its text
            encodings are missing or do not fit. Nothing is stored then.
    """
    if not options.accept_license:
        raise UsageError(LICENCE_NOTICE)
    _check_name(store, name, join=options.join)
    # What a workspace adds to the taxonomy is no class of a published file.
    structures = shipped_taxonomy().names
    text = _text_vectors(store, options.text_encoding, structures)
    read = read_weights_file(path)
    imported = import_published(read.tensors, structures, text)
    file = WeightsFileFacts(
        name=path.name,
        bytes=path.stat().st_size,
        sha256=_sha256_of(path),
        wrappers=read.wrappers,
        left_aside=read.left_aside,
    )
    card = _card(imported, file)
    checkpoint = save_checkpoint(imported.network, PUBLISHED_INFERENCE, card)
    model = register_model(store, name, checkpoint, card)
    if options.join:
        backbone = imported.report.backbone
        join_committee(store.workspace, MemberSettings(name=name, family=backbone, weights=name))
    return ImportSummary(model, file, imported.report)


def _check_name(store: Store, name: str, *, join: bool) -> None:
    try:
        MemberSettings(name=name, family=name, weights=name)
    except ValueError as error:
        raise UsageError(
            f"a model's name has lower-case letters, digits, '.', '_' and '-', got {name!r}"
        ) from error
    if name in registered_models(store):
        raise UsageError(f"a model {name!r} is registered already; choose another name")
    if join and name in {member.name for member in store.settings.committee}:
        raise UsageError(f"{name} is in the committee already; import it under another name")


def _text_vectors(store: Store, named: str | None, structures: Sequence[str]) -> TextVectors | None:
    if named is None:
        return None
    if Path(named).is_file() or Path(named).suffix:
        return read_text_vectors(Path(named), count=len(structures))
    return load_vectors(find_encoding(store, named).path).rows_of(structures)


def _card(imported: ImportedNetwork, file: WeightsFileFacts) -> JsonObject:
    network, report = imported.network, imported.report
    inference = PUBLISHED_INFERENCE
    return {
        "family": report.backbone,
        "backbone": report.backbone,
        "backbone_options": dict(report.options),
        "head": network.head.kind,
        "encoding": report.encoding,
        "encoding_source": network.encoding.provenance.source,
        "encoding_sha256": network.encoding.provenance.sha256,
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "spacing_mm": list(inference.spacing_mm),
        "hu_window": list(inference.hu_window),
        "patch": list(inference.patch),
        "overlap": inference.overlap,
        "trained_on": "the file does not say; see where it was published",
        "single_source_if_published": list(_SINGLE_SOURCE),
        "licences": licences([InheritedLicence(file.name, LICENCE_FLAG, LICENCE)]),
        "imported": {
            "file": file.name,
            "bytes": file.bytes,
            "sha256": file.sha256,
            "layout": report.layout,
            "wrappers": list(file.wrappers),
            "matched": report.matched,
            "not_needed": len(report.not_needed),
            "warnings": list(report.warnings),
        },
    }


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
