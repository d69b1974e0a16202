"""Islands: parts of a mask that lie apart from the rest of an organ that is one."""

from __future__ import annotations

from collections.abc import Iterator

from configs.plausibility import PieceRule
from model.plausibility.finding import Finding
from model.plausibility.organ import Anatomy, Organ, Piece
from model.plausibility.words import ml, title


def piece_findings(anatomy: Anatomy) -> Iterator[Finding]:
    """Yield the masks that are in more parts than their organ."""
    for rule in anatomy.rules.pieces:
        for name in rule.structures:
            organ = anatomy.organs.get(name)
            islands = [] if organ is None else _islands(organ, rule)
            if organ is not None and islands:
                yield _finding(organ, islands, rule)


def _islands(organ: Organ, rule: PieceRule) -> list[Piece]:
    """Return the pieces beyond those allowed; two that the same border cuts may be one."""
    first, *others = organ.pieces
    large = [one for one in others if one.volume_ml > rule.least_ml]
    return [one for one in large if not one.edges & first.edges][rule.most - 1 :]


def _finding(organ: Organ, islands: list[Piece], rule: PieceRule) -> Finding:
    island = islands[0]
    more = f" and {len(islands) - 1} more" if len(islands) > 1 else ""
    parts = "one part" if rule.most == 1 else f"{rule.most} parts at most"
    return Finding(
        structure=organ.name,
        rule="pieces",
        severity="fault",
        value=island.volume_ml,
        place=island.place,
        explanation=(
            f"{title(organ.name)} should be {parts}, but an island of {ml(island.volume_ml)}{more} "
            f"lies apart from the largest, of {ml(organ.pieces[0].volume_ml)}."
        ),
    )
