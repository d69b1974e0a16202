import pytest

from configs.triage import TriageFacts, load_triage_facts


def test_ceilings_have_a_source_or_are_said_to_be_unknown():
    facts = load_triage_facts()

    assert facts.ceiling_of("pancreas") == (0.81, "abdomenatlas")
    assert facts.ceiling_of("celiac_trunk") == (0.9, "unknown")


def test_a_structure_has_one_ceiling():
    content = load_triage_facts().model_dump()
    content["ceiling"] = [content["ceiling"][0], content["ceiling"][0]]

    with pytest.raises(ValueError, match="each once"):
        TriageFacts.model_validate(content)
