import itertools
import math

import pytest
from pydantic import ValidationError

from configs.errors import UsageError
from configs.simulated_committee import CommitteeScenario, load_committee_scenario
from configs.taxonomy import shipped_taxonomy


def changed(**parts):
    return CommitteeScenario.model_validate(
        load_committee_scenario().model_dump(mode="json") | parts
    )


def test_every_structure_has_one_surface_error():
    border = load_committee_scenario().border

    assert all(border.of(name).disagreement_mm > 0 for name in shipped_taxonomy().names)
    with pytest.raises(UsageError, match="nose"):
        border.of("nose")


def test_a_members_error_is_the_disagreement_less_what_is_shared():
    border = load_committee_scenario().border
    own = border.member_mm("liver") ** 2 * (1 - border.shared)

    assert math.sqrt(2 * own) == pytest.approx(border.of("liver").disagreement_mm)


def test_two_kinds_are_sealed():
    faults = load_committee_scenario().faults

    assert len(faults.sealed) == 2
    assert set(faults.weights(sealed=False)) == set(faults.kinds) - set(faults.sealed)
    assert 0.01 <= faults.rate <= 0.05


def test_no_patient_has_two_uses():
    splits = load_committee_scenario().splits
    seeds = [range(one.first, one.stop) for one in splits.values()]

    assert len(splits) == 5
    assert all(a.stop <= b.start for a, b in itertools.pairwise(seeds))
    assert splits["held_out"].seed(3) == splits["held_out"].first + 3
    with pytest.raises(UsageError, match="patients"):
        splits["held_out"].seed(100_000)


def test_a_scenario_that_contradicts_itself_is_refused():
    whole = load_committee_scenario().model_dump(mode="json")
    splits = whole["splits"]
    overlapping = splits | {"calibration": splits["calibration"] | {"first": 5}}

    with pytest.raises(ValidationError, match="without overlap"):
        changed(splits=overlapping)
    with pytest.raises(ValidationError, match="unique names"):
        changed(members=[whole["members"][0]] * 2)
    with pytest.raises(ValidationError, match="unknown structures"):
        changed(members=[whole["members"][0] | {"abstains": ["nose"]}])
    with pytest.raises(ValidationError, match="one surface error"):
        changed(border=whole["border"] | {"classes": {}})
    with pytest.raises(ValidationError, match="at most 1"):
        changed(border=whole["border"] | {"shared": 0.8, "family": 0.3})
