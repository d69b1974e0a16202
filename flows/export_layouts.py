"""Where each layout keeps a case's files, and the files about the whole label set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from configs.layouts import LayoutName, load_layouts
from configs.taxonomy import load_taxonomy
from storage.releases import Release

Document = dict[str, object]

LABEL_MAP = "label_map.json"
DATASET = "dataset.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportLayout:
    """Relative paths of a case's files.

    Attributes:
        mask: Where the mask of one structure goes; None where the layout has the combined map only.
        covered: Where a mask goes in a layout without single masks when the combined map cannot say
            it, since another structure covers a part that ``unstack`` does not give back.
        provenance: Written last, so that it also says that the case is complete.
    """

    name: LayoutName
    ct: str
    combined: str
    mask: str | None
    covered: str | None
    provenance: str

    def mask_path(self, case_id: str, structure: str) -> str | None:
        """Return where a structure's mask goes; None in a layout without single masks."""
        return self._path(self.mask, case_id, structure)

    def covered_path(self, case_id: str, structure: str) -> str | None:
        """Return where a mask goes that the combined map cannot say; None where all have files."""
        return self._path(self.covered, case_id, structure)

    def _path(self, form: str | None, case_id: str, structure: str) -> str | None:
        if form is None:
            return None
        return form.format(case=case_id, structure=load_layouts()[self.name].written(structure))


def export_layout(name: LayoutName) -> ExportLayout:
    """Return the paths of a layout."""
    if name in ("abdomenatlas", "totalsegmentator"):
        return ExportLayout(
            name=name,
            ct="{case}/ct.nii.gz",
            combined="{case}/combined_labels.nii.gz",
            mask="{case}/segmentations/{structure}.nii.gz",
            covered=None,
            provenance="{case}/provenance.json",
        )
    return ExportLayout(
        name=name,
        ct="imagesTr/{case}_0000.nii.gz" if name == "nnunet" else "imagesTr/{case}.nii.gz",
        combined="labelsTr/{case}.nii.gz",
        mask=None,
        covered="masks_overlapping/{case}/{structure}.nii.gz",
        provenance="provenance/{case}.json",
    )


def label_map(layout: LayoutName, values: Mapping[str, int], release: Release) -> Document:
    """Return the label map that every export holds: values, names, codes and precedence.

    Args:
        layout: The layout.
        values: Structure -> value in the combined maps.
        release: What is exported.
    """
    taxonomy, layouts = load_taxonomy(), load_layouts()
    return {
        "schema": 1,
        "layout": layout,
        "release": release_facts(release),
        "background": 0,
        "labels": [
            {
                "value": value,
                "name": layouts[layout].written(name),
                "structure": name,
                "display": taxonomy[name].display,
                "snomed": taxonomy[name].snomed,
                "snomed_modifier": taxonomy[name].modifier,
                "rgb": list(taxonomy[name].rgb),
                "includes": [child for child in taxonomy.children(name) if child in values],
            }
            for name, value in sorted(values.items(), key=lambda item: item[1])
        ],
        "precedence": [name for name in layouts.painting_order if name in values],
        "precedence_rule": (
            "A combined map holds one value a voxel. Structures are painted in the order of "
            "`precedence`; where masks overlap, the later one is seen. An organ's own mask "
            "includes the structures under `includes`; in a combined map they cover it."
        ),
    }


def release_facts(release: Release) -> Document:
    """Return how an exported file names its release."""
    return {
        "release_id": release.release_id,
        "name": release.name,
        "journal_head": release.head_hash,
    }


def dataset_json(
    layout: LayoutName, values: Mapping[str, int], release: Release, case_ids: Sequence[str]
) -> Document | None:
    """Return the ``dataset.json`` of nnU-Net or MSD; None for a layout without one.

    Args:
        layout: The layout.
        values: Structure -> value, consecutive from 1.
        release: What is exported.
        case_ids: The cases that are there, sorted.

    Source:
        nnU-Net v2's dataset format: labels by name, ``channel_names``, ``file_ending``. Medical
        Segmentation Decathlon: names by label, ``modality``, a list of image and label pairs.
    """
    if layout == "nnunet":
        return {
            "name": release.name,
            "release": release.release_id,
            "channel_names": {"0": "CT"},
            "labels": {"background": 0, **values},
            "numTraining": len(case_ids),
            "file_ending": ".nii.gz",
        }
    if layout == "msd":
        return {
            "name": release.name,
            "description": "Abdominal CT labels; provenance/ says where each of them comes from",
            "reference": "",
            "licence": "",
            "release": release.release_id,
            "tensorImageSize": "3D",
            "modality": {"0": "CT"},
            "labels": {"0": "background"} | {str(value): name for name, value in values.items()},
            "numTraining": len(case_ids),
            "numTest": 0,
            "training": [
                {"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"}
                for case in case_ids
            ],
            "test": [],
        }
    return None
