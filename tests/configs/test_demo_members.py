from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from configs.demo_members import DemoMembers, load_demo_members
from configs.errors import UsageError


def raw() -> dict[str, Any]:
    return load_demo_members().model_dump()


def test_the_demo_has_three_families() -> None:
    in_demo = [member for member in load_demo_members().members if member.in_demo]

    assert len(in_demo) == 3
    assert len({member.family for member in in_demo}) == 3


def test_presets_are_found_by_name_and_the_first_stands_in_for_none() -> None:
    members = load_demo_members()

    assert [members.find(name).name for name in members.names] == list(members.names)
    assert members.find(None) == members.members[0]


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(UsageError, match="known are small"):
        load_demo_members().find("huge")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch": (64, 48, 50)}, "multiple of 16"),
        ({"hu_window": (250.0, -175.0)}, "must rise"),
        ({"steps": 0}, "greater than or equal to 1"),
        ({"spacing_mm": (0.0, 6.0, 6.0)}, "greater than 0"),
        ({"surprise": 1}, "not permitted"),
        ({"name": "wide"}, "must be unique"),
    ],
)
def test_presets_that_break_a_rule_are_refused(change: dict[str, Any], message: str) -> None:
    values = raw()
    values["members"] = [{**values["members"][0], **change}, *values["members"][1:]]

    with pytest.raises(ValidationError, match=message):
        DemoMembers.model_validate(values)


def test_a_preset_may_name_any_backbone_with_options_of_its_own() -> None:
    values = raw()
    member = {**values["members"][0], "backbone": "swin_unetr", "patch": (96, 64, 32)}

    (read, *_) = DemoMembers.model_validate(
        {**values, "members": [{**member, "backbone_options": {"feature_size": 24}}]}
    ).members

    assert read.backbone_options.model_dump()["feature_size"] == 24
    assert read.backbone_options.model_dump()["num_heads"] == (3, 6, 12, 24)
    for change, message in (
        ({"backbone_options": {"width": 32}}, "not permitted"),
        ({"backbone_options": {"feature_size": 20}}, "multiple of 12"),
        ({"backbone_options": {}, "patch": (96, 96, 48)}, "multiple of 32"),
        ({"backbone": "vnet"}, "small_unet"),
        ({"backbone": ["unet"]}, "small_unet"),
    ):
        with pytest.raises(ValidationError, match=message):
            DemoMembers.model_validate({**values, "members": [{**member, **change}]})
