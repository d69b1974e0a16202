"""Which flows a workspace has, with their schedules, and who is to run them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import Flow
from prefect.schedules import Cron, Schedule
from prefect.types.entrypoint import EntrypointType

from configs.errors import ConfigError
from configs.setting_sections import ScheduleSettings
from flows.scheduled.verbs import annotate, intake, retrain, triage


@dataclass(frozen=True, slots=True)
class Deployments:
    """Flows of a workspace with their schedules.

    Attributes:
        served: Those that ``atlasloop serve`` runs in processes of its own.
        pooled: Those that the workers of ``work_pool`` run.
    """

    served: tuple[RunnerDeployment, ...]
    pooled: tuple[RunnerDeployment, ...] = ()
    work_pool: str | None = None

    @property
    def name(self) -> str:
        """The name that all of them have, and the tag of all their runs."""
        return str(self.served[0].name)


def deployments(
    workspace: Path, schedule: ScheduleSettings, *, work_pool: str | None = None
) -> Deployments:
    """Return every flow, tied to a workspace and its schedule; without one it waits for a click.

    Args:
        workspace: Its folder.
        schedule: When, and how many at once.
        work_pool: Name of the pool whose workers run what computes on a device. New files and
            ranks never wait for those.

    Raises:
        ConfigError: A cron expression cannot be read.
    """
    crons = {
        "watch_every": schedule.watch_every if schedule.watch else "",
        "annotate_every": schedule.annotate_every,
        "triage_every": schedule.triage_every,
        "retrain_every": schedule.retrain_every,
    }
    places = [{"device": device, "place": n} for n, device in enumerate(schedule.devices)]

    def make(
        flow: Flow[..., Any],
        key: str,
        *,
        each: Sequence[dict[str, Any]] = ({},),
        **parameters: object,
    ) -> RunnerDeployment:
        made = flow.to_deployment(
            name=_name(workspace),
            tags=[_name(workspace)],
            schedules=_schedules(key, crons[key], schedule.timezone, each),
            paused=False,
            parameters={"workspace": str(workspace), "skip_if_running": True, **parameters},
            concurrency_limit=schedule.run_limit,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        return cast(RunnerDeployment, made)  # typed as if it could be awaited

    light = (make(intake, "watch_every"), make(triage, "triage_every"))
    heavy = (
        make(annotate, "annotate_every", each=places or ({},)),
        make(retrain, "retrain_every", only_if_new=True),
    )
    if work_pool is None:
        return Deployments(served=light + heavy)
    return Deployments(served=light, pooled=heavy, work_pool=work_pool)


def _name(workspace: Path) -> str:
    """The folder's name, and what tells folders of one name apart on a shared server."""
    digest = hashlib.sha256(str(workspace).encode()).hexdigest()[:6]
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', workspace.name)}-{digest}"


def _schedules(
    key: str, cron: str, timezone: str, each: Sequence[dict[str, Any]]
) -> list[Schedule]:
    if not _checked(key, cron):
        return []
    return [Cron(cron, timezone=timezone, parameters=dict(parameters)) for parameters in each]


def _checked(key: str, cron: str) -> bool:
    """Whether there is a cron expression; raises ConfigError for one that cannot be read."""
    if not cron:
        return False
    try:
        CronSchedule(cron=cron)
    except ValueError as error:
        raise ConfigError(
            f"schedule.{key} is a cron expression such as '*/15 * * * *', or empty for never; got "
            f"{cron!r}"
        ) from error
    return True
