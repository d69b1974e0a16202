"""The committee's networks, and how the settings let them run."""

from __future__ import annotations

from dataclasses import replace

import torch

from configs.inference_profiles import PROFILES, InferenceProfile
from configs.post_process import PostProcessRules
from configs.setting_sections import AnnotateSettings
from configs.test_time import shipped_changes
from flows.devices import inference_precision
from model.annotate import AnnotateOptions
from model.checkpoint import load_checkpoint
from model.committee import CommitteeMember
from model.network_options import NetworkOptions
from storage.model_registry import CommitteeRecord


def load_members(
    committee: CommitteeRecord, settings: AnnotateSettings, device: torch.device
) -> list[CommitteeMember]:
    """Load the committee's networks onto a device, in evaluation mode.

    Raises:
        ModelError: A checkpoint is damaged or of another kind.
    """
    profile = inference_profile(settings)
    members = []
    for record in committee.members:
        loaded = load_checkpoint(record.path)
        inference = loaded.inference
        if profile.window is not None:
            inference = replace(inference, patch=profile.window)
        if profile.overlap is not None:
            inference = replace(inference, overlap=profile.overlap)
        members.append(
            CommitteeMember(
                name=record.name,
                family=record.family,
                network=loaded.network.to(device).eval(),
                inference=inference,
                structures=loaded.network.structures,
                temperatures=record.temperatures,
            )
        )
    return members


def annotate_options(
    settings: AnnotateSettings, device: torch.device, rules: PostProcessRules | None
) -> AnnotateOptions:
    """Return how a committee annotates under some settings and rules of post-processing."""
    changes = shipped_changes()[: settings.test_time_passes]
    return AnnotateOptions(network=network_options(settings, device), rules=rules, changes=changes)


def network_options(settings: AnnotateSettings, device: torch.device) -> NetworkOptions:
    """Return how networks run under some settings."""
    profile = inference_profile(settings)
    return NetworkOptions(
        batch_size=settings.window_batch,
        precision=inference_precision(settings.autocast, device),
        blending=profile.blending,
        body_only=profile.body_only,
    )


def inference_profile(settings: AnnotateSettings) -> InferenceProfile:
    """Return the profile that is set, with the settings that go before it."""
    own = {
        "window": settings.window,
        "overlap": settings.overlap,
        "blending": settings.blending,
        "body_only": settings.body_only,
    }
    given = {name: value for name, value in own.items() if value is not None}
    return replace(PROFILES[settings.profile], **given)
