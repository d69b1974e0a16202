import pytest
from pydantic import ValidationError

from configs.triage_priors import EditPrior, load_triage_priors


def test_the_shipped_priors_are_valid_and_name_their_sources():
    priors = load_triage_priors()

    assert priors.minutes.look == pytest.approx(15 / 60)
    assert priors.edit.unknown == pytest.approx(1 - 0.81)
    assert priors.edit.unknown_source == "label_critic"


def test_the_least_chance_does_not_exceed_the_most():
    shipped = load_triage_priors().edit.model_dump()

    with pytest.raises(ValidationError, match="least must not exceed most"):
        EditPrior(**{**shipped, "least": 0.9, "most": 0.1})
