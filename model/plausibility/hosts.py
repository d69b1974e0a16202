"""Lesions, and vessels of an organ, that lie outside of the organ that they belong to."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from configs.plausibility import HostRule
from configs.taxonomy import load_taxonomy
from model.dilation import dilated, radii_of
from model.placed_crop import grown, placed
from model.plausibility.finding import Finding
from model.plausibility.organ import Anatomy, Organ, Piece
from model.plausibility.words import ml, mm, names_of, percent, title


def host_findings(anatomy: Anatomy) -> Iterator[Finding]:
    """Yield the structures of which a piece lies outside of all organs that may hold it."""
    for rule in anatomy.rules.hosts:
        for name in rule.structures:
            organ = anatomy.organs.get(name)
            parents = load_taxonomy()[name].parents
            # Where nobody looked for the organ, nothing can be said.
            if organ is None or not any(one in anatomy.covered for one in parents):
                continue
            hosts = [anatomy.organs[one] for one in parents if one in anatomy.organs]
            pieces = [one for one in organ.pieces if one.volume_ml > rule.least_ml]
            inside = [_share_inside(organ, one, hosts, rule) for one in pieces]
            out = [(p, s) for p, s in zip(pieces, inside, strict=True) if s < rule.least_inside]
            if out:
                yield _finding(organ, out, parents, rule)


def _share_inside(organ: Organ, piece: Piece, hosts: list[Organ], rule: HostRule) -> float:
    """Return how much of a piece's box of the mask lies in the organs, grown by the reach."""
    scan = organ.scan
    radii = radii_of(rule.reach_mm, scan.spacing_mm)
    around = grown(piece.box, radii, scan.shape)
    region = np.zeros(around.shape, np.bool_)
    for host in hosts:
        region |= placed(host.counts, host.box, around) > 0
    own = placed(organ.counts, organ.box, piece.box) > 0
    near = placed(dilated(region, radii), around, piece.box)
    return float(np.count_nonzero(own & near)) / float(np.count_nonzero(own))


def _finding(
    organ: Organ, out: list[tuple[Piece, float]], parents: tuple[str, ...], rule: HostRule
) -> Finding:
    piece, share = out[0]
    more = f" (and {len(out) - 1} more)" if len(out) > 1 else ""
    return Finding(
        structure=organ.name,
        rule="outside",
        severity="fault",
        other=parents[0] if len(parents) == 1 else None,
        value=share,
        place=piece.place,
        explanation=(
            f"{title(organ.name)}: {percent(share)} of a part of {ml(piece.volume_ml)}{more} lies "
            f"in or within {mm(rule.reach_mm)} of {names_of(parents)}, at least "
            f"{percent(rule.least_inside)} should."
        ),
        mentions=parents,
    )
