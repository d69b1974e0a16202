import pytest
from pydantic import ValidationError

from configs.errors import UsageError
from configs.taxonomy import Taxonomy, load_taxonomy


def test_there_are_25_organs_6_tumors_and_one_cyst():
    groups = [structure.group for structure in load_taxonomy().structures]

    assert (groups.count("organ"), groups.count("tumor"), groups.count("cyst")) == (25, 6, 1)


def test_order_is_the_published_channel_order():
    names = load_taxonomy().names

    assert names[:3] == ("spleen", "kidney_right", "kidney_left")
    assert names[22:25] == ("femur_head_left", "femur_head_right", "celiac_trunk")
    assert names[31] == "kidney_cyst"


def test_lesions_have_hosts_and_colon_tumor_belongs_to_colon():
    taxonomy = load_taxonomy()

    assert all(s.parents for s in taxonomy.structures if s.is_lesion)
    assert taxonomy["colon_tumor"].parents == ("colon",)
    assert set(taxonomy.children("liver")) == {
        "hepatic_vessel",
        "liver_tumor",
        "hepatic_vessel_tumor",
    }


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("liver", "portal_vein_and_splenic_vein"),
        ("pancreas", "hepatic_vessel"),
        ("liver_tumor", "hepatic_vessel_tumor"),
    ],
)
def test_pairs_that_may_overlap_are_not_exclusive(first, second):
    assert second not in load_taxonomy()[first].exclusive


def test_sided_structures_come_in_pairs():
    taxonomy = load_taxonomy()
    for structure in taxonomy.structures:
        if structure.side is not None:
            other = {"left": "right", "right": "left"}[structure.side]
            assert taxonomy[structure.name.replace(structure.side, other)].side == other


def test_sentences_use_the_words_of_the_published_model():
    said = [structure.spoken.lower() for structure in load_taxonomy().structures]

    assert len(set(said)) == 32
    assert said[:4] == ["spleen", "right kidney", "left kidney", "gall bladder"]
    assert said[8:10] == ["postcava", "portal vein and splenic vein"]
    assert said[11:13] == ["right adrenal gland", "left adrenal gland"]
    assert said[18:25] == [
        *("intestine", "rectum", "bladder", "prostate", "left head of femur"),
        *("right head of femur", "celiac trunk"),
    ]
    assert said[27:29] == ["pancreas tumor", "hepatic vessel tumor"]


def test_centres_of_sides_lie_on_their_side():
    for structure in load_taxonomy().structures:
        if structure.side is not None and structure.centre_mm is not None:
            assert (structure.centre_mm[0] > 0) == (structure.side == "right")


def test_unknown_name_is_a_usage_error():
    with pytest.raises(UsageError, match="unknown structure 'liver2'"):
        load_taxonomy()["liver2"]


def test_select_keeps_channel_order():
    assert load_taxonomy().select(["liver", "spleen"]) == ("spleen", "liver")


def broken(**changes):
    fields = load_taxonomy().model_dump()
    fields["structures"] = [dict(structure) for structure in fields["structures"]]
    fields["structures"][0].update(changes)
    return fields


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "liver"}, "unique"),
        ({"parents": ("body",)}, "unknown"),
        ({"exclusive": ("aorta",)}, "both ways"),
        ({"volume_ml": (5, 5)}, "must rise"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_broken_taxonomy_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        Taxonomy.model_validate(broken(**changes))
