"""The workspace folder and what lies where in it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from configs.errors import StorageError, UsageError
from configs.setting_sections import MemberSettings

_SETTINGS_TEMPLATE = """\
# Settings of this AtlasLoop workspace. A flag or an ATLASLOOP_SECTION__NAME variable goes before
# this file; `atlasloop status --config` shows each value in force and where it came from.

[identity]
# Turns patient names into pseudonymous ids. Keep it: another key gives other ids.
key = "{key}"

# [intake]
# patient_pattern = "(P[0-9]+)"  # over the file's path; its first group is the patient

# [annotate]
# device = "auto"
# post_process = "shipped"  # or "off", or a file with rules of your own such as "rules.toml"

# [schedule]  # of `atlasloop serve`
# annotate_every = "0 1 * * *"
# watch = ["/data/inbox"]  # new CTs in these folders are taken in
# timezone = "UTC"

# The committee: two or more models that vote. `atlasloop train --join` adds one.
# [[committee]]
# name = "first"
# family = "small-unet"
# weights = "first"
"""


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths of one workspace."""

    root: Path

    @property
    def settings_path(self) -> Path:
        """The file that makes a folder a workspace."""
        return self.root / "atlasloop.toml"

    @property
    def journal_path(self) -> Path:
        """The truth, with ``objects_path``."""
        return self.root / "journal.jsonl"

    @property
    def objects_path(self) -> Path:
        """Content-addressed files."""
        return self.root / "objects"

    @property
    def database_path(self) -> Path:
        """The index; may be deleted at any time while nothing runs."""
        return self.root / "atlasloop.duckdb"

    @property
    def taxonomy_path(self) -> Path:
        """Structures that this workspace adds to the shipped ones; mostly not there."""
        return self.root / "taxonomy.toml"

    @property
    def protocols_path(self) -> Path:
        """Protocols of this workspace's own, before the shipped ones; mostly not there."""
        return self.root / "protocols"

    @property
    def lock_path(self) -> Path:
        """The one lock of the workspace."""
        return self.root / ".lock"

    @property
    def models_path(self) -> Path:
        """Model cards, one file a model."""
        return self.root / "models"

    @property
    def runs_path(self) -> Path:
        """Logs and reports of runs."""
        return self.root / "runs"

    @property
    def samples_path(self) -> Path:
        """Training cases on the working grid; may be deleted at any time, and is made again."""
        return self.root / "cache" / "samples"

    @property
    def regions_path(self) -> Path:
        """CTs in blocks, for the review app; may be deleted at any time, and is made again."""
        return self.root / "cache" / "regions"

    @property
    def drafts_path(self) -> Path:
        """What readers drew and have not given as a verdict yet; nothing can make it again."""
        return self.root / "drafts"


def create_workspace(root: Path) -> Workspace:
    """Make a new workspace in an empty or missing folder, or return the one that is there.

    Raises:
        UsageError: The path is a file, or the folder cannot be written to.
    """
    workspace = Workspace(root.resolve())
    if workspace.settings_path.exists():
        return workspace
    try:
        for folder in (workspace.objects_path, workspace.models_path, workspace.runs_path):
            folder.mkdir(parents=True, exist_ok=True)
        text = _SETTINGS_TEMPLATE.format(key=secrets.token_hex(16))
        workspace.settings_path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"a workspace needs a folder that can be written to; {root} cannot: {error.strerror}"
        ) from error
    return workspace


def open_workspace(root: Path) -> Workspace:
    """Return the workspace in a folder.

    Raises:
        UsageError: The folder is no workspace.
    """
    workspace = Workspace(root.resolve())
    if not workspace.settings_path.is_file():
        raise UsageError(
            f"{root} is no workspace (it has no atlasloop.toml); make one with "
            "`atlasloop init`, or name one with --workspace"
        )
    return workspace


def join_committee(workspace: Workspace, member: MemberSettings) -> None:
    """Append a member to the committee in ``atlasloop.toml``; everything above it stays as it is.

    Raises:
        StorageError: The file cannot be written.
    """
    entry = (
        f'\n[[committee]]\nname = "{member.name}"\nfamily = "{member.family}"\n'
        f'weights = "{member.weights}"\n'
    )
    text = workspace.settings_path.read_text(encoding="utf-8")
    temporary = workspace.settings_path.with_suffix(".part")
    try:
        temporary.write_text(text.rstrip("\n") + "\n" + entry, encoding="utf-8")
        temporary.replace(workspace.settings_path)
    except OSError as error:
        raise StorageError(f"atlasloop.toml cannot be written: {error.strerror}") from error
