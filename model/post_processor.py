"""The rules at work on one volume: structure after structure, every voter's masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce

import numpy as np

from configs.post_process import (
    KeepFragments,
    KeepHosted,
    KeepLargest,
    KeepSides,
    PostProcessRules,
    Rule,
)
from configs.taxonomy import Taxonomy
from model.committee import CommitteeMember
from model.grid import Box, Grid
from model.midline import Midline
from model.pair_sides import Sides, resolve_sides
from model.placed_crop import (
    Mask,
    PackedMask,
    PlacedMask,
    cropped,
    grown,
    packed,
    placed,
    union_box,
)
from model.post_process import (
    SizeLimits,
    host_region,
    keep_fragments,
    keep_from,
    keep_hosted,
    keep_largest,
    region_margin,
    whole_voxels,
)


@dataclass(frozen=True, slots=True, eq=False)
class VoterMasks:
    """One structure's masks, crops of one box.

    Attributes:
        structure: Name in the taxonomy.
        voters: Who covers it.
        box: None when nobody sees it.
        masks: Of every voter; nothing when nobody sees it.
    """

    structure: str
    voters: tuple[str, ...]
    box: Box | None
    masks: Mapping[str, Mask]

    def placed(self, voter: str, into: Box) -> Mask:
        """Return the part of a voter's mask that lies in another box, shape ``into.shape``."""
        if self.box is None:
            return np.zeros(into.shape, np.bool_)
        return placed(self.masks[voter], self.box, into)


def structures_to_compute(
    structures: Sequence[str],
    members: Sequence[CommitteeMember],
    rules: PostProcessRules | None,
) -> tuple[str, ...]:
    """Return what is asked for with all that rules look at, as far as members cover it."""
    if rules is None:
        return tuple(structures)
    known = {name for member in members for name in member.structures}
    return rules.needed(structures, known)


class PostProcessor:
    """Applies rules to one volume's masks, unit by unit, and keeps what later rules look at.

    A mask that later rules look at is kept as a packed crop, an eighth of a byte a voxel, until the
    last of them has passed.
    """

    def __init__(
        self,
        rules: PostProcessRules | None,
        structures: Sequence[str],
        *,
        taxonomy: Taxonomy,
        grid: Grid,
        midline: Callable[[], Midline],
    ) -> None:
        """Plan the order.

        Args:
            rules: None keeps everything.
            structures: All that masks come of.
            taxonomy: Knows sides and the organs of lesions.
            grid: The volume's.
            midline: Finds the body's midline; asked once, and only where a pair needs it.
        """
        self.units = rules.units(structures) if rules else tuple((name,) for name in structures)
        self._rules = rules
        self._taxonomy = taxonomy
        self._grid = grid
        self._midline = cache(midline)
        self._kept: dict[str, dict[str, PackedMask | None]] = {}
        self._last_use = self._last_uses()
        self._done = 0

    def process(self, unit: Sequence[VoterMasks]) -> list[VoterMasks]:
        """Return what is kept of the masks of the next unit, in its order.

        A box may be larger than before, where a part came from the other side.

        Raises:
            ValueError: These are not the masks of the next unit.
        """
        names = tuple(one.structure for one in unit)
        if self._done >= len(self.units) or names != self.units[self._done]:
            raise ValueError(f"units come in order, {names} is not the next of {self.units}")
        for name in [name for name in self._kept if self._last_use[name] < self._done]:
            del self._kept[name]
        results = self._kept_of(unit) if self._rules else list(unit)
        for one in results:
            if one.structure in self._last_use:
                self._kept[one.structure] = _packed_masks(one)
        self._done += 1
        return results

    def host(self, structure: str, voter: str, into: Box) -> Mask | None:
        """Return a voter's mask of the organs that a structure may lie in, for the unit just done.

        None where the voter does not cover all of them, or sees none.
        """
        hosts = [self._kept.get(name, {}) for name in self._taxonomy[structure].parents]
        if not hosts or any(voter not in host for host in hosts):
            return None
        found = [host[voter] for host in hosts]
        masks = [placed(one.unpacked(), one.box, into) for one in found if one is not None]
        return reduce(np.logical_or, masks) if masks else None

    def _last_uses(self) -> dict[str, int]:
        uses = {}
        for index, unit in enumerate(self.units if self._rules else ()):
            for name in unit:
                for other in self._rules.leans_on(name) if self._rules else ():
                    uses[other] = index
        return uses

    def _kept_of(self, unit: Sequence[VoterMasks]) -> list[VoterMasks]:
        voters = dict.fromkeys(voter for one in unit for voter in one.voters)
        kept: list[dict[str, PlacedMask | None]] = [{} for _ in unit]
        for voter in voters:
            twin = next((one for one in kept[0] if self._are_one(one, voter, unit)), None)
            if twin is not None:
                for found in kept:
                    found[voter] = found[twin]
                continue
            crops = [self._raised(one.structure, voter, _crop_of(one, voter)) for one in unit]
            rule = self._rules.rule(unit[0].structure) if self._rules else None
            if isinstance(rule, KeepSides):
                crops = self._resolved([one.structure for one in unit], rule, crops)
            else:
                crops = [self._single(unit[0].structure, rule, voter, crops[0])]
            for found, crop in zip(kept, crops, strict=True):
                found[voter] = crop
        return [_boxed(one, crops) for one, crops in zip(unit, kept, strict=True)]

    def _are_one(self, first: str, second: str, unit: Sequence[VoterMasks]) -> bool:
        """Whether two voters have the very same masks, also of all that the unit's rules look at.

        The consensus has those of a member that is alone in covering a structure and its hosts.
        """
        leaned_on = {
            name
            for one in unit
            for name in (self._rules.leans_on(one.structure) if self._rules else ())
        }
        seen: list[Mapping[str, Mask | PackedMask | None]] = [one.masks for one in unit]
        seen += [self._kept.get(name, {}) for name in leaned_on]
        return all(
            (first in masks) == (second in masks) and masks.get(first) is masks.get(second)
            for masks in seen
        ) and all((first in one.voters) == (second in one.voters) for one in unit)

    def _raised(self, structure: str, voter: str, crop: PlacedMask | None) -> PlacedMask | None:
        """Return a crop without what lies below the structure that its rule names."""
        rule = self._rules.rule(structure) if self._rules else None
        if rule is None or rule.not_below is None or crop is None:
            return crop
        floor = self._kept.get(rule.not_below, {}).get(voter)
        if floor is None:
            return crop
        lowest = floor.box.start[2] - crop.box.start[2]
        return PlacedMask(keep_from(crop.mask, lowest), crop.box)

    def _single(
        self, structure: str, rule: Rule | None, voter: str, crop: PlacedMask | None
    ) -> PlacedMask | None:
        if rule is None or crop is None:
            return crop
        least = whole_voxels(rule.least_ml, self._grid.voxel_ml)
        mask = crop.mask
        if isinstance(rule, KeepLargest):
            mask = keep_largest(mask, least=least)
        elif isinstance(rule, KeepFragments):
            mask = keep_fragments(mask, self._limits(rule))
        elif isinstance(rule, KeepHosted):
            region = self._region(structure, rule, voter, crop)
            if region is not None:
                mask = keep_hosted(mask, region, least=least, largest_cut=rule.largest_cut)
        return PlacedMask(mask, crop.box)

    def _region(
        self, structure: str, rule: KeepHosted, voter: str, crop: PlacedMask
    ) -> Mask | None:
        """Return where the lesion may lie, or the organ itself where that holds all of it."""
        distances = {"close_mm": rule.close_mm, "reach_mm": rule.reach_mm}
        spacing_mm = self._grid.spacing_mm
        wide = grown(crop.box, region_margin(spacing_mm, **distances), self._grid.shape)
        host = self.host(structure, voter, wide)
        if host is None:
            return None
        organ = placed(host, wide, crop.box)
        if not (crop.mask & ~organ).any():
            return organ
        return placed(host_region(host, spacing_mm, **distances), wide, crop.box)

    def _resolved(
        self, names: Sequence[str], rule: KeepSides, crops: Sequence[PlacedMask | None]
    ) -> list[PlacedMask | None]:
        """Return both sides, or one where no voter covers the other."""
        found = [crop for crop in crops if crop is not None]
        if not found:
            return list(crops)
        box = union_box([crop.box for crop in found])
        sides = {"left": np.zeros(box.shape, np.bool_), "right": np.zeros(box.shape, np.bool_)}
        places = [self._taxonomy[name].side or "left" for name in names]
        for side, crop in zip(places, crops, strict=True):
            if crop is not None:
                sides[side] = placed(crop.mask, crop.box, box)
        kept = resolve_sides(
            Sides(sides["left"], sides["right"]),
            self._midline(),
            start=box.start[0],
            limits=self._limits(rule),
        )
        masks = {"left": kept.left, "right": kept.right}
        return [cropped(masks[side], origin=box.start) for side in places]

    def _limits(self, rule: KeepFragments | KeepSides) -> SizeLimits:
        voxel_ml = self._grid.voxel_ml
        return SizeLimits(
            least=whole_voxels(rule.least_ml, voxel_ml),
            sure=None if rule.sure_ml is None else whole_voxels(rule.sure_ml, voxel_ml),
            share=rule.least_share,
        )


def _crop_of(one: VoterMasks, voter: str) -> PlacedMask | None:
    if one.box is None or voter not in one.voters:
        return None
    return cropped(one.masks[voter], origin=one.box.start)


def _boxed(one: VoterMasks, crops: Mapping[str, PlacedMask | None]) -> VoterMasks:
    """Return what is kept in a box that holds it and the raw masks; unchanged masks as they are."""
    boxes = [crop.box for crop in crops.values() if crop is not None]
    if one.box is not None:
        boxes.append(one.box)
    if not boxes:
        return one
    box = union_box(boxes)
    masks: dict[str, Mask] = {}
    done: dict[int, Mask] = {}
    for voter in one.voters:
        crop = crops[voter]
        if id(crop) not in done:
            empty = crop is None
            mask = np.zeros(box.shape, np.bool_) if empty else placed(crop.mask, crop.box, box)
            unchanged = box == one.box and np.array_equal(mask, one.masks[voter])
            done[id(crop)] = one.masks[voter] if unchanged else mask
        masks[voter] = done[id(crop)]
    return VoterMasks(one.structure, one.voters, box, masks)


def _packed_masks(one: VoterMasks) -> dict[str, PackedMask | None]:
    """Return every voter's mask packed; the very same mask once."""
    done: dict[int, PackedMask | None] = {}
    for mask in one.masks.values():
        if id(mask) not in done and one.box is not None:
            crop = cropped(mask, origin=one.box.start)
            done[id(mask)] = None if crop is None else packed(crop)
    return {voter: done.get(id(one.masks.get(voter))) for voter in one.voters}
