"""Sites of the phantom cohort: how each scans and which structures it annotates."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.errors import ConfigError, UsageError
from configs.taxonomy import shipped_taxonomy

PhaseName = Literal["noncontrast", "arterial", "portal"]
FieldName = Literal["trunk", "abdomen_pelvis", "upper_abdomen", "pelvis"]
Role = Literal["train", "unseen"]
Weight = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class SiteProtocol(BaseModel):
    """How a site scans; see ``model.phantom.protocol.Protocol`` for what each value does.

    Attributes:
        spacing_mm: Voxel size along (I, J, K).
        slice_thickness_mm: Length that a slice averages over.
        phases: Relative weight of each contrast phase.
        fields: Relative weight of each field of view.
        noise_sd_hu: Lowest and highest noise.
        blur_mm: Lowest and highest standard deviation of the point spread.
        hu_offset: Calibration error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spacing_mm: tuple[Positive, Positive, Positive] = (3.0, 3.0, 3.0)
    slice_thickness_mm: Positive = 3.0
    phases: dict[PhaseName, Weight]
    fields: dict[FieldName, Weight]
    noise_sd_hu: tuple[Positive, Positive]
    blur_mm: tuple[Positive, Positive]
    hu_offset: float = 0.0


class PhantomSite(BaseModel):
    """One simulated hospital.

    Attributes:
        name: Folder name and key.
        role: ``train``, or ``unseen`` for a site that no model may be trained on.
        about: What makes the site different, for people.
        protocol: How it scans.
        annotates: Structures whose masks it shares, in channel order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    role: Role
    about: str
    protocol: SiteProtocol
    annotates: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_structures(self) -> Self:
        ordered = shipped_taxonomy().select(self.annotates)
        if ordered != self.annotates:
            raise ValueError(
                f"annotates of {self.name} must be unique and in channel order: {list(ordered)}"
            )
        return self


class PhantomSites(BaseModel):
    """All sites of the shipped cohort."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int
    sites: tuple[PhantomSite, ...]

    @model_validator(mode="after")
    def _check_coverage(self) -> Self:
        if len(set(self.names)) != len(self.sites):
            raise ValueError("site names must be unique")
        learned = {name for site in self.training for name in site.annotates}
        missing = [name for name in shipped_taxonomy().names if name not in learned]
        if missing:
            raise ValueError(f"no training site annotates {missing}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Site names in order."""
        return tuple(site.name for site in self.sites)

    @property
    def training(self) -> tuple[PhantomSite, ...]:
        """Sites that a model may be trained on."""
        return tuple(site for site in self.sites if site.role == "train")

    @property
    def unseen(self) -> tuple[PhantomSite, ...]:
        """Sites that no model may be trained on."""
        return tuple(site for site in self.sites if site.role == "unseen")

    def select(self, names: Sequence[str] | None) -> tuple[PhantomSite, ...]:
        """Return the named sites in the file's order, or all; raises UsageError for an unknown."""
        if names is None:
            return self.sites
        unknown = sorted(set(names) - set(self.names))
        if unknown or not names:
            raise UsageError(
                f"sites must be some of {', '.join(self.names)}; got {', '.join(unknown) or 'none'}"
            )
        return tuple(site for site in self.sites if site.name in names)


@cache
def load_phantom_sites() -> PhantomSites:
    """Return the shipped sites; raises ConfigError when the file breaks a rule."""
    text = resources.files("configs").joinpath("phantom_sites.toml").read_text(encoding="utf-8")
    try:
        return PhantomSites.model_validate(tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"phantom_sites.toml is not valid: {error}") from error
