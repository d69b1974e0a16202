"""The sections of the settings: names, rules and defaults of their values."""

from __future__ import annotations

from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from configs.inference_profiles import ProfileName
from configs.test_time import MOST_PASSES


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IdentitySettings(_Section):
    """What ids are made from; written once by ``atlasloop init``.

    Attributes:
        key: Secret that turns patient names into pseudonymous ids.
    """

    key: str = ""


class StorageSettings(_Section):
    """How the database is opened."""

    lock_timeout_s: float = Field(default=120.0, gt=0)
    threads: int = Field(default=2, ge=1)
    memory_limit: str = "1GB"


class IntakeSettings(_Section):
    """What is accepted as a CT, and how files are tied to patients.

    Attributes:
        max_voxels: Refuse a larger volume; the default is 1024 x 1024 x 1024.
        patient_pattern: Regular expression over the file's path whose first group is the patient.
    """

    max_voxels: int = Field(default=1 << 30, gt=0)
    min_slices: int = Field(default=8, ge=1)
    patient_pattern: str | None = None
    twin_similarity: float = Field(default=0.97, gt=0, le=1)


class AnnotateSettings(_Section):
    """How the committee sees a volume.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        autocast: Reduced precision of the networks; ``auto`` takes bfloat16 where it is fast.
        precision_tolerance: Reduced precision is not used where, on the first case, it decides on
            more than this share of a member's foreground otherwise than float32.
        window_batch: Windows per call of a network; fewer where memory is not enough.
        profile: Named values of the next four, ``configs.inference_profiles``: ``weights`` keeps
            what the weights came with, ``reference`` is the CLIP-driven model's own inference,
            ``abdomenatlas`` AbdomenAtlas'.
        window: Size in voxels of the working grid.
        overlap: Share of a window that neighbours share.
        blending: How windows count where they overlap.
        body_only: Leave out windows without body.
        workers: Processes that share the cases; each loads the networks and takes its share of the
            processor's cores, or one of the GPUs in turn.
        memory_gb: A case is written while the networks are at the next one only where the
            probabilities of both take no more than this.
        post_process: ``shipped``, ``off`` for raw masks, or a TOML file with rules of your own,
            from the workspace's folder.
        plausibility: Rules that masks are judged by when a case is closed: ``shipped``, ``off``, or
            a TOML file with rules of your own, from the workspace's folder.
        temperatures: Calibrate probabilities by the temperatures in the models' cards, which
            ``atlasloop validate --keep`` puts there.
        test_time_passes: How often a member that is alone with a structure sees each CT once more,
            a bit changed, so that it can disagree with itself (``tta_dice``): 0, off, to 6. Each
            pass takes as long as that member's first. Cases that are closed stay as they are.
        possibly_missed_probability: A structure nobody segmented is queued as possibly missed when
            some voxel reaches this probability.
    """

    device: str = "auto"
    autocast: Literal["auto", "off", "bfloat16", "float16"] = "auto"
    precision_tolerance: float = Field(default=0.02, gt=0)
    window_batch: int = Field(default=2, ge=1)
    profile: ProfileName = "weights"
    window: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    overlap: float | None = Field(default=None, ge=0, lt=1)
    blending: Literal["gaussian", "uniform"] | None = None
    body_only: bool | None = None
    workers: int = Field(default=1, ge=1)
    memory_gb: float = Field(default=8.0, gt=0)
    post_process: str = Field(default="shipped", pattern=r"^(shipped|off|.+\.toml)$")
    plausibility: str = Field(default="shipped", pattern=r"^(shipped|off|.+\.toml)$")
    temperatures: bool = True
    test_time_passes: int = Field(default=0, ge=0, le=MOST_PASSES)
    possibly_missed_probability: float = Field(default=0.25, gt=0, lt=1)


class TrainSettings(_Section):
    """How ``atlasloop train`` goes about it; what is unset comes from the preset.

    Attributes:
        batch_size: Patches that are computed at once, on each process.
        accumulation: Such batches a step.
        learning_rate: Highest rate.
        clip_norm: The gradient is scaled down to this norm where it is longer.
        average_decay: How much of the running mean of the weights stays at each step.
        activation_checkpointing: Compute activations twice to save memory.
        workers: Threads that draw patches ahead.
        cache_gb: Prepared cases beyond this are deleted before a training, oldest use first.
        checkpoint_every_s: Time between two states to go on from; 0 keeps one of every step.
        keep_checkpoints: How many of the newest stay, beside the best.
        validate_every: Steps between two validations; unset validates at the end alone.
        best_figure: Figure of the validation whose highest value tells the best state.
        draw_every_s: Time between two pictures of the curves.
        backend: How gradients travel between processes; ``auto`` is nccl on CUDA and gloo else.
    """

    batch_size: int | None = Field(default=None, ge=1)
    accumulation: int | None = Field(default=None, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    clip_norm: float | None = Field(default=None, gt=0)
    average_decay: float | None = Field(default=None, gt=0, lt=1)
    activation_checkpointing: bool | None = None
    workers: int = Field(default=0, ge=0)
    cache_gb: float = Field(default=200.0, ge=0)
    checkpoint_every_s: float = Field(default=120.0, ge=0)
    keep_checkpoints: int = Field(default=2, ge=1)
    validate_every: int | None = Field(default=None, ge=1)
    best_figure: str = "macro"
    draw_every_s: float = Field(default=30.0, gt=0)
    backend: Literal["auto", "gloo", "nccl"] = "auto"


class RetrainSettings(_Section):
    """How corrections become weights, and when those may replace the ones in force.

    Attributes:
        steps: Optimiser steps a member.
        learning_rate: Highest rate; well below that of a first training.
        correction_share: Share of the patches that comes from cases with corrections.
        gate_share: Share of the patients that only decide at the gate.
        report_share: Share of the patients that only reports look at.
        split_seed: Draws who gets which role.
        dsc_margin: See ``model.gate.GatePolicy``, as for the next three.
    """

    steps: int = Field(default=400, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    correction_share: float = Field(default=0.2, gt=0, le=1)
    gate_share: float = Field(default=0.15, gt=0, lt=0.5)
    report_share: float = Field(default=0.15, gt=0, lt=0.5)
    split_seed: int = Field(default=0, ge=0)
    dsc_margin: float = Field(default=0.02, gt=0)
    false_positive_margin: float = Field(default=0.05, gt=0)
    sensitivity_margin: float = Field(default=0.10, gt=0)
    least_patients: int = Field(default=10, ge=2)


class TriageSettings(_Section):
    """What triage expects of labels, and what comes first in the queue.

    Attributes:
        target: What is predicted: ``edit_dsc``, the AI's mask against its own correction, or
            ``independent_dsc``, against readings made without it, which alone is accuracy.
        level: Share of labels that are to lie inside their interval.
        policy: ``expected_gain`` in DSC per predicted minute, or one of the policies that others
            use: see ``model.triage.policies``.
        objective: ``release`` for good labels to hand out, ``learning`` for what a network learns
            most from.
        weights: What a structure's DSC is worth beside others', 1 where it is not named.
        turns: Whether structures take turns, or patients, on top of the policy.
        seed: Of the policy that draws.
        audit_share: Share of readers' work that is drawn at random, between 0.05 and 0.1 for most
            projects; 0 draws nothing.
        audit_unaided_share: Share of that which is read without the AI's mask.
        audit_ahead: Items of a reader's coming work that audit items are mixed into at a time.
    """

    target: Literal["edit_dsc", "independent_dsc"] = "edit_dsc"
    level: float = Field(default=0.9, ge=0.5, lt=1)
    policy: Literal[
        "expected_gain",
        "disagreement",
        "attention",
        "entropy",
        "volume_outlier",
        "random_foreground",
        "round_robin",
    ] = "expected_gain"
    objective: Literal["release", "learning"] = "release"
    weights: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    turns: Literal["none", "structure", "patient"] = "none"
    seed: int = Field(default=0, ge=0)
    audit_share: float = Field(default=0.08, ge=0, le=0.5)
    audit_unaided_share: float = Field(default=0.25, ge=0, le=1)
    audit_ahead: int = Field(default=100, ge=10, le=1000)


class MemberSettings(_Section):
    """One model of the committee: its name, its family and the registered weights it votes with."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    family: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    weights: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")


class ScheduleSettings(_Section):
    """What ``atlasloop serve`` runs and when, and how a flow goes about it.

    Attributes:
        annotate_every: Cron expression; an empty one is never.
        triage_every: The same; ``annotate`` ranks what it closed without it.
        retrain_every: The same; does nothing where no label came since the last retraining.
        watch: Folders to take new CTs in from; relative ones lie in the workspace.
        watch_every: Cron expression of that.
        settle_s: How long a file there must have been left alone before it is read.
        timezone: In which the cron expressions are meant, e.g. ``Europe/Berlin``.
        devices: One annotating process each, at the same time; without any, one on
            ``annotate.device``. A device may stand here more than once.
        chunk_size: Cases, or new files, of one Prefect task.
        retries: How often a chunk with failed cases is tried again.
        retry_delay_s: Wait before that.
        gpu_limit: Tasks with the tag ``gpu`` at once on the Prefect server, whoever runs them;
            unset leaves the server's limit alone.
        pool_limit: Runs of the work pool at once; unset is no limit.
        run_limit: Runs of one flow at once; unset is no limit.
        dead_after_s: A run that the server takes for running, but whose process has been gone for
            so long, is marked as crashed, so that it counts in no limit any more.
        port: Of the local server, where no PREFECT_API_URL names another.
    """

    annotate_every: str = "0 1 * * *"
    triage_every: str = ""
    retrain_every: str = "0 6 * * 6"
    watch: tuple[str, ...] = ()
    watch_every: str = "*/15 * * * *"
    settle_s: float = Field(default=120.0, ge=0)
    timezone: str = "UTC"
    devices: tuple[str, ...] = ()
    chunk_size: int = Field(default=20, ge=1)
    retries: int = Field(default=2, ge=0)
    retry_delay_s: float = Field(default=60.0, ge=0)
    gpu_limit: int | None = Field(default=None, ge=1)
    pool_limit: int | None = Field(default=None, ge=1)
    run_limit: int | None = Field(default=None, ge=1)
    dead_after_s: float = Field(default=300.0, gt=0)
    port: int = Field(default=4200, ge=1, le=65535)

    @field_validator("timezone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"a zone such as Europe/Berlin or UTC, got {name!r}") from error
        return name


class ReviewKeys(_Section):
    """The key of each action of the case page; Streamlit keeps C and R for itself."""

    accept: str = "a"
    correct: str = "e"
    absent: str = "x"
    reject: str = "b"
    defer: str = "u"
    next_item: str = "n"
    slice_up: str = "w"
    slice_down: str = "s"
    zoom: str = "z"
    approve: str = "v"
    send_back: str = "t"

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        keys = [str(key).lower() for key in self.model_dump().values()]
        bad = [key for key in keys if len(key) != 1 or not key.isalnum() or key in "cr"]
        if bad or len(set(keys)) != len(keys):
            raise ValueError(
                f"keys are single letters or digits but c and r, each once, got {keys}"
            )
        return self


class ReviewSettings(_Section):
    """How the review app behaves.

    Attributes:
        reader: Who reviews; written into every verdict, without a check of who it is.
        lease_minutes: How long an opened item stays this reader's without being used.
        idle_s: A longer pause between two actions counts as this long in the active time.
        region_margin_mm: What is handed out round a structure for correction in another program.
        cached_cts: CTs that the app keeps in memory, two bytes a voxel each.
        four_eyes: A second reader approves each verdict; training takes approved ones only.
        returned_hours: How long a verdict that was returned is nobody's but its reader's.
        open_in: What items and readings open in: the editor, or slices to look at (``e`` changes
            over).
        region_side: Longest side of what the editor opens at once, in voxels; more comes in parts.
        region_cache_gb: Disk for CTs in blocks; the ones unused longest go first.
        blocks_at_intake: Whether intake lays CTs in blocks while it has them in memory; only as
            long as there is room, so nothing goes for a CT that nobody opened.
        autosave_s: How far a draft may lag behind what was drawn.
        editor_keys: Keys of the editor's actions, such as ``{"undo" = "Ctrl+Z"}``, where they
            are not to be the default; ``?`` in the editor shows all.
        page_size: CTs on a page of the queue.
    """

    reader: str = ""
    port: int = Field(default=8600, ge=1024, le=65535)
    lease_minutes: float = Field(default=15.0, gt=0)
    idle_s: float = Field(default=60.0, gt=0)
    region_margin_mm: float = Field(default=20.0, ge=0)
    max_upload_mb: int = Field(default=64, ge=1)
    cached_cts: int = Field(default=2, ge=1)
    open_in: Literal["pictures", "editor"] = "editor"
    region_side: int = Field(default=200, ge=32, le=320)
    region_cache_gb: float = Field(default=20.0, gt=0)
    blocks_at_intake: bool = True
    autosave_s: float = Field(default=5.0, gt=0, le=10)
    page_size: int = Field(default=8, ge=1, le=100)
    four_eyes: bool = False
    returned_hours: float = Field(default=48.0, ge=0)
    keys: ReviewKeys = ReviewKeys()
    editor_keys: dict[str, str] = Field(default_factory=dict)
