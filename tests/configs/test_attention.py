import pytest
from pydantic import ValidationError

from configs.attention import AttentionSettings, shipped_attention
from configs.setting_sections import AnnotateSettings
from configs.test_time import MOST_PASSES, shipped_changes


def test_shipped_attention_has_the_published_lists_and_thresholds():
    faithful = shipped_attention().faithful

    assert (len(set(faithful.targets)), len(set(faithful.overlapping))) == (9, 20)
    assert not {"aorta", "postcava"} & set(faithful.overlapping)
    assert (faithful.deviation, faithful.entropy_nats, faithful.opening_steps) == (0.1, 0.05, 2)


def test_attention_of_an_unknown_structure_is_refused():
    changed = shipped_attention().model_dump()
    changed["faithful"]["targets"] = ["spleen", "gizzard"]

    with pytest.raises(ValidationError, match="gizzard"):
        AttentionSettings.model_validate(changed)


def test_every_shipped_pass_changes_something_small():
    changes = shipped_changes()

    assert len({change.name for change in changes}) == MOST_PASSES
    for change in changes:
        assert change.hu or change.noise_hu or change.shift_voxels
        assert max(abs(change.hu), change.noise_hu) <= 20
        assert abs(change.shift_voxels) <= 0.5


def test_passes_are_off_and_no_more_than_there_are_changes():
    assert AnnotateSettings().test_time_passes == 0
    with pytest.raises(ValidationError, match="less than or equal to 6"):
        AnnotateSettings(test_time_passes=MOST_PASSES + 1)
