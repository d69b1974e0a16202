from importlib import resources

import pytest

from configs.errors import ConfigError
from configs.plausibility import plausibility_in_force, shipped_plausibility
from configs.taxonomy import load_taxonomy, use_taxonomy


def changed(change, tmp_path):
    """The shipped rules with a change of their text."""
    text = resources.files("configs").joinpath("plausibility.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(change(text), encoding="utf-8")
    return plausibility_in_force("mine.toml", tmp_path)


def test_every_shipped_structure_has_a_volume_with_its_source():
    rules = shipped_plausibility()

    assert set(rules.volumes) == set(load_taxonomy().names)
    assert all(one.source for one in rules.volumes.values())


def test_what_is_often_taken_out_is_expected_with_a_note_alone():
    faults = {
        name
        for rule in shipped_plausibility().expected
        if rule.severity == "fault"
        for name in rule.structures
    }

    assert not faults & {"gall_bladder", "spleen", "kidney_right", "kidney_left", "prostate"}


def test_comments_do_not_change_what_the_rules_are_called_but_numbers_do(tmp_path):
    shipped = shipped_plausibility().digest

    assert changed(lambda text: "# another word\n" + text, tmp_path).digest == shipped
    assert changed(lambda text: text.replace("[45, 400]", "[44, 400]"), tmp_path).digest != shipped


def test_rules_are_named_or_off(tmp_path):
    assert plausibility_in_force("off", tmp_path) is None
    assert plausibility_in_force("shipped", tmp_path) is shipped_plausibility()
    with pytest.raises(ConfigError, match=r"annotate\.plausibility must be"):
        plausibility_in_force("gone.toml", tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('structures = ["liver", "bladder"]', 'structures = ["lever"]', "not lever"),
        ('other = "prostate"', 'other = "prostrate"', "not prostrate"),
        ("ml = [45, 400]", "ml = [400, 45]", "must rise"),
        ('right = ["liver", "gall_bladder"]', 'structures = ["liver"]', "has no side"),
        ('structures = ["hepatic_vessel"]', 'structures = ["liver"]', "has no parents"),
        ("version = 1", "version = 2", "version"),
        ("seen_share", "sean_share", "seen_share: Field required"),
        ("version = 1", "version =", "TOML"),
    ],
)
def test_a_broken_rule_is_refused_with_its_place(before, after, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        changed(lambda text: text.replace(before, after), tmp_path)


def test_an_added_structure_takes_the_range_of_the_taxonomy(tmp_path):
    (tmp_path / "taxonomy.toml").write_text(
        'version = 1\n[[structures]]\nname = "uterus"\ndisplay = "Uterus"\ngroup = "organ"\n'
        "rgb = [1, 2, 3]\nvolume_ml = [10, 500]\nsurface_mm = 3.0\n"
    )
    try:
        use_taxonomy(tmp_path / "taxonomy.toml")

        assert shipped_plausibility().range_ml("uterus") == (10, 500)
    finally:
        use_taxonomy(tmp_path / "none.toml")
