"""Where patches are aimed: which case, and which of its structures."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from configs.errors import ConfigError
from configs.taxonomy import Taxonomy, load_taxonomy
from model.training_samples import PreparedSample

_NOTHING = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSettings:
    """How often datasets, structures and places are drawn.

    Attributes:
        temperature: A dataset of n cases is drawn as if it had ``n ** (1 / temperature)``: 1 draws
            all cases alike, infinity all datasets. At the default one of 1,000 cases is drawn 7
            times as often as one of 20, and not 50 times.
        rarity: How far structures that few cases show are preferred: one that would be drawn f
            times as often as the average is drawn ``f ** (1 - rarity)`` times as often, roughly.
            0 lets the cases decide, 1 draws all structures of a dataset alike.
        foreground: Share of the patches that is aimed at a structure; the rest lies anywhere.
        lesion_weight: How often a tumor or cyst is aimed at, relative to an organ beside it.
        thin_weight: The same of structures that the taxonomy calls thin: adrenals, vessels,
            duodenum.

    Source:
        Temperature: how multilingual models mix corpora (Arivazhagan et al. 2019). The published
        universal model draws all datasets alike, which is temperature infinity, and lesions before
        organs. Rarity: our decision, see ARCHITECTURE.md.
    """

    temperature: float = 2.0
    rarity: float = 0.5
    foreground: float = 0.85
    lesion_weight: float = 2.0
    thin_weight: float = 1.5

    def __post_init__(self) -> None:
        if not self.temperature >= 1:
            raise ConfigError(f"sampling.temperature must be at least 1, got {self.temperature}")
        if not 0 <= self.rarity <= 1:
            raise ConfigError(f"sampling.rarity must be between 0 and 1, got {self.rarity}")
        if not 0 <= self.foreground <= 1:
            raise ConfigError(f"sampling.foreground must be between 0 and 1, got {self.foreground}")
        for name in ("lesion_weight", "thin_weight"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"sampling.{name} must be positive, got {value}")


@dataclass(frozen=True, slots=True)
class AimPlan:
    """Probabilities of (case, structure) pairs.

    Attributes:
        cases: Position of the case, int64, shape (P,).
        structures: Number of the structure, -1 where the case shows none, int64, shape (P,).
        probability: Of each pair, float64, shape (P,), sums to 1.
        cumulative: Running sum of ``probability``.
    """

    cases: Tensor
    structures: Tensor
    probability: Tensor
    cumulative: Tensor

    def draw(self, generator: torch.Generator) -> tuple[int, int | None]:
        """Return a case and the structure to aim at; None where it shows none."""
        lot = torch.rand((), dtype=torch.float64, generator=generator) * self.cumulative[-1]
        pair = min(int(torch.searchsorted(self.cumulative, lot, right=True)), len(self.cases) - 1)
        structure = int(self.structures[pair])
        return int(self.cases[pair]), None if structure == _NOTHING else structure


def aim_plan(
    samples: Sequence[PreparedSample], weights: Tensor, settings: SamplingSettings
) -> AimPlan:
    """Return how often each structure of each case is aimed at.

    Datasets share the draws by temperature, the cases of a dataset by their weight, the structures
    that a case shows by theirs. A case whose structures weigh more, or are rarer, is drawn more
    often, so that lesions that few cases have are seen.

    Args:
        samples: At least one.
        weights: Of each structure, shape (n,).
        settings: See there.
    """
    shares = _case_shares(samples, settings.temperature)
    cases, structures, plain = [], [], []
    for number, (sample, share) in enumerate(zip(samples, shares, strict=True)):
        present = sorted(sample.centres) or [_NOTHING]
        cases += [number] * len(present)
        structures += present
        plain += [share / len(present)] * len(present)
    structure = torch.tensor(structures, dtype=torch.int64)
    frequency = torch.tensor(plain, dtype=torch.float64)
    probability = frequency * _preference(structure, frequency, weights.double(), settings.rarity)
    probability /= probability.sum()
    return AimPlan(
        torch.tensor(cases, dtype=torch.int64), structure, probability, probability.cumsum(0)
    )


def aim_weights(
    structures: Sequence[str], settings: SamplingSettings, taxonomy: Taxonomy | None = None
) -> Tensor:
    """Return how often each structure is aimed at relative to the others, shape (n,)."""
    entries = {entry.name: entry for entry in (taxonomy or load_taxonomy()).structures}
    weights = []
    for name in structures:
        entry = entries.get(name)
        lesion = settings.lesion_weight if entry is not None and entry.is_lesion else 1.0
        thin = settings.thin_weight if entry is not None and entry.thin else 1.0
        weights.append(lesion * thin)
    return torch.tensor(weights)


def _case_shares(samples: Sequence[PreparedSample], temperature: float) -> list[float]:
    total: defaultdict[str, float] = defaultdict(float)
    for sample in samples:
        total[sample.dataset] += sample.weight
    drawn = {dataset: weight ** (1 / temperature) for dataset, weight in total.items()}
    every = sum(drawn.values())
    return [
        sample.weight / total[sample.dataset] * drawn[sample.dataset] / every for sample in samples
    ]


def _preference(structure: Tensor, frequency: Tensor, weights: Tensor, rarity: float) -> Tensor:
    """Return the factor of each pair; 1 for a case that shows nothing."""
    shown = structure != _NOTHING
    coverage = torch.zeros(len(weights), dtype=torch.float64)
    coverage.index_add_(0, structure[shown], frequency[shown])
    seen = coverage > 0
    factor = torch.ones(len(structure), dtype=torch.float64)
    if bool(seen.any()):
        relative = torch.where(seen, coverage / coverage[seen].mean(), 1.0)
        factor[shown] = (weights * relative**-rarity)[structure[shown]]
    return factor
