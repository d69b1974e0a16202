"""The models that vote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from configs.errors import ModelError
from model.inference_settings import InferenceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitteeMember:
    """One voter.

    Attributes:
        name: Unique in the committee; stored with every score.
        family: Members of one family count as one vote together.
        network: ``forward(images [B, 1, I, J, K], structure_index LongTensor [Q] or None)`` gives
            logits ``[B, Q, I, J, K]``; on the device of the run, in evaluation mode.
        inference: How the network wants to see a volume.
        structures: Names in the order of the network's outputs when ``structure_index`` is None.
        temperatures: Structure -> what its probabilities are calibrated by before they are averaged
            with those of others, scored and drawn; 1 where it is not named.
    """

    name: str
    family: str
    network: nn.Module
    inference: InferenceSettings
    structures: tuple[str, ...]
    temperatures: Mapping[str, float] = field(default_factory=dict)

    def covers(self, structure: str) -> bool:
        """Whether the member votes on a structure; it abstains from all others."""
        return structure in self.structures


def covering(members: Sequence[CommitteeMember], structure: str) -> tuple[CommitteeMember, ...]:
    """Return the members that vote on a structure, in committee order."""
    return tuple(member for member in members if member.covers(structure))


def family_weights(families: Sequence[str]) -> tuple[float, ...]:
    """Return one weight per member: families count alike, whatever their size; the sum is 1."""
    sizes = {family: families.count(family) for family in families}
    return tuple(1.0 / (len(sizes) * sizes[family]) for family in families)


def check_committee(members: Sequence[CommitteeMember]) -> None:
    """Raise ModelError unless the members have unique names and are ready to vote."""
    names = [member.name for member in members]
    if not names:
        raise ModelError("a committee needs at least one member, got none; train one first")
    if len(set(names)) != len(names):
        raise ModelError(f"members of a committee need unique names, got {', '.join(names)}")
    for member in members:
        if member.network.training:
            raise ModelError(
                f"a voting network must be in evaluation mode, {member.name} is in training mode; "
                "call network.eval() first"
            )
