"""Tissues that a phantom is made of, and the taxonomy's structure that each belongs to."""

from __future__ import annotations

from enum import IntEnum


class Tissue(IntEnum):
    """What a voxel holds; exactly one per voxel, so organs of different tissues never overlap."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    VISCERAL_FAT = 3
    BONE = 4
    CANAL = 5
    MEDIASTINUM = 6
    HEART = 7
    DIAPHRAGM = 8
    VESSEL = 9
    UTERUS = 10
    SEMINAL = 11
    TABLE = 12
    FLUID = 13
    CARTILAGE = 14
    RENAL_FAT = 15
    SPLEEN = 20
    KIDNEY_RIGHT = 21
    KIDNEY_LEFT = 22
    GALL_BLADDER = 23
    ESOPHAGUS = 24
    LIVER = 25
    STOMACH = 26
    AORTA = 27
    POSTCAVA = 28
    PORTAL = 29
    PANCREAS = 30
    ADRENAL_RIGHT = 31
    ADRENAL_LEFT = 32
    DUODENUM = 33
    LUNG_RIGHT = 34
    LUNG_LEFT = 35
    COLON = 36
    INTESTINE = 37
    RECTUM = 38
    BLADDER = 39
    PROSTATE = 40
    FEMUR_LEFT = 41
    FEMUR_RIGHT = 42
    CELIAC = 43
    LIVER_PORTAL = 44
    """Main portal branch inside the liver: belongs to liver, portal vein and hepatic vessel."""
    LIVER_VESSEL = 45
    """Branch inside the liver: belongs to liver and hepatic vessel."""


STRUCTURES: dict[str, tuple[Tissue, ...]] = {
    "spleen": (Tissue.SPLEEN,),
    "kidney_right": (Tissue.KIDNEY_RIGHT,),
    "kidney_left": (Tissue.KIDNEY_LEFT,),
    "gall_bladder": (Tissue.GALL_BLADDER,),
    "esophagus": (Tissue.ESOPHAGUS,),
    "liver": (Tissue.LIVER, Tissue.LIVER_PORTAL, Tissue.LIVER_VESSEL),
    "stomach": (Tissue.STOMACH,),
    "aorta": (Tissue.AORTA,),
    "postcava": (Tissue.POSTCAVA,),
    "portal_vein_and_splenic_vein": (Tissue.PORTAL, Tissue.LIVER_PORTAL),
    "pancreas": (Tissue.PANCREAS,),
    "adrenal_gland_right": (Tissue.ADRENAL_RIGHT,),
    "adrenal_gland_left": (Tissue.ADRENAL_LEFT,),
    "duodenum": (Tissue.DUODENUM,),
    "hepatic_vessel": (Tissue.LIVER_PORTAL, Tissue.LIVER_VESSEL),
    "lung_right": (Tissue.LUNG_RIGHT,),
    "lung_left": (Tissue.LUNG_LEFT,),
    "colon": (Tissue.COLON,),
    "intestine": (Tissue.INTESTINE,),
    "rectum": (Tissue.RECTUM,),
    "bladder": (Tissue.BLADDER,),
    "prostate": (Tissue.PROSTATE,),
    "femur_head_left": (Tissue.FEMUR_LEFT,),
    "femur_head_right": (Tissue.FEMUR_RIGHT,),
    "celiac_trunk": (Tissue.CELIAC,),
}
"""Tissues of every organ; lesions are kept apart because they lie inside organs."""

CAVITY = (Tissue.VISCERAL_FAT, Tissue.FLUID)
"""What fills the room between the organs and may be painted over by one."""
