import pytest

from configs.errors import ConfigError
from configs.setting_sections import ScheduleSettings


@pytest.fixture
def deployments(scheduled):
    return scheduled("deployments").deployments


def test_every_flow_is_deployed_and_an_empty_cron_is_never(deployments, tmp_path):
    schedule = ScheduleSettings(annotate_every="0 6 * * *", timezone="Europe/Berlin")

    made = deployments(tmp_path / "w", schedule)

    intake, triage, annotate, retrain = made.served
    names = [deployment.flow_name for deployment in made.served]
    assert names == ["intake", "triage", "annotate", "retrain"]
    assert annotate.schedules[0].schedule.timezone == "Europe/Berlin"
    assert crons(annotate) == ["0 6 * * *"]
    assert crons(triage) == []
    assert crons(intake) == [], "no folder is watched"
    assert retrain.parameters["only_if_new"] is True
    assert annotate.name != deployments(tmp_path / "v" / "w", schedule).served[0].name


def test_by_default_nights_annotate_weeks_retrain_and_watched_folders_are_looked_at(
    deployments, tmp_path
):
    made = deployments(tmp_path, ScheduleSettings(watch=("in box",)))

    assert [crons(deployment) for deployment in made.served] == [
        ["*/15 * * * *"],
        [],
        ["0 1 * * *"],
        ["0 6 * * 6"],
    ]
    assert "in box" not in str(made.served[0].parameters)


def test_each_device_is_a_run_of_its_own_and_a_pool_takes_only_what_computes(deployments, tmp_path):
    schedule = ScheduleSettings(devices=("cuda:0", "cuda:1"), run_limit=2)

    made = deployments(tmp_path, schedule, work_pool="gpus")

    assert [deployment.flow_name for deployment in made.served] == ["intake", "triage"]
    annotate, retrain = made.pooled
    assert [entry.parameters for entry in annotate.schedules] == [
        {"device": "cuda:0", "place": 0},
        {"device": "cuda:1", "place": 1},
    ]
    assert annotate.concurrency_limit == 2
    assert retrain.flow_name == "retrain"


def test_broken_cron_is_named(deployments, tmp_path):
    with pytest.raises(ConfigError, match=r"schedule\.triage_every .* 'at noon'"):
        deployments(tmp_path, ScheduleSettings(triage_every="at noon"))


def crons(deployment):
    return [entry.schedule.cron for entry in deployment.schedules]
