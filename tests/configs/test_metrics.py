import pytest
from pydantic import ValidationError

from configs.errors import UsageError
from configs.metrics import MetricSettings, load_metric_settings
from configs.taxonomy import load_taxonomy


def test_every_structure_has_a_tolerance_and_says_where_it_comes_from():
    settings = load_metric_settings()

    assert {settings[name].source for name in load_taxonomy().names} == {"flare", "ours"}
    assert (settings["liver"].mm, settings["duodenum"].mm, settings["aorta"].mm) == (5, 7, 2)
    assert settings["celiac_trunk"].like == "aorta"


def test_an_unknown_structure_is_refused():
    with pytest.raises(UsageError, match="tolerance"):
        load_metric_settings()["tail"]


def test_a_missing_structure_is_refused():
    shipped = load_metric_settings().model_dump()
    shipped["tolerances"] = shipped["tolerances"][1:]

    with pytest.raises(ValidationError, match="every structure"):
        MetricSettings.model_validate(shipped)


def test_a_tolerance_of_ours_must_follow_a_published_one():
    shipped = load_metric_settings().model_dump()
    for one in shipped["tolerances"]:
        if one["like"] == "duodenum":
            one["mm"] = 4.0

    with pytest.raises(ValidationError, match="must have the tolerance of duodenum"):
        MetricSettings.model_validate(shipped)
