import tomllib
from importlib import resources

import pytest

from configs.errors import ConfigError
from configs.metrics import load_metric_settings
from configs.post_process import (
    PostProcessRules,
    post_process_in_force,
    shipped_post_process,
)
from configs.taxonomy import load_taxonomy, use_taxonomy

HEAD = "version = 1\n[candidates]\nlow_probability = 0.1\nmost = 5\n"


def rules_of(text, tmp_path):
    (tmp_path / "rules.toml").write_text(HEAD + text)
    return post_process_in_force("rules.toml", tmp_path)


def test_every_shipped_structure_has_one_rule():
    rules = shipped_post_process()

    named = [name for rule in rules.rules for name in rule.structures]
    assert sorted(named) == sorted(load_taxonomy().names)


def test_lesion_limits_are_those_of_the_metrics():
    rules = shipped_post_process()

    for name, least_mm3 in load_metric_settings().least_lesion_mm3.items():
        assert rules.rule(name).least_ml * 1000 == pytest.approx(least_mm3)


def test_what_no_rule_names_keeps_everything(tmp_path):
    rules = rules_of('[[rules]]\nkeep = "largest"\nstructures = ["liver"]\n', tmp_path)

    assert rules.rule("spleen") is None
    assert rules.leans_on("liver_tumor") == ()


def test_an_added_structure_keeps_everything(tmp_path):
    (tmp_path / "taxonomy.toml").write_text(
        'version = 1\n[[structures]]\nname = "uterus"\ndisplay = "Uterus"\ngroup = "organ"\n'
        "rgb = [1, 2, 3]\nvolume_ml = [10, 500]\nsurface_mm = 3.0\n"
    )
    try:
        names = use_taxonomy(tmp_path / "taxonomy.toml").names

        assert shipped_post_process().rule("uterus") is None
        assert ("uterus",) in shipped_post_process().units(names)
    finally:
        use_taxonomy(tmp_path / "none.toml")


def test_a_structure_comes_after_those_that_its_rule_looks_at():
    units = shipped_post_process().units(load_taxonomy().names)

    order = [name for unit in units for name in unit]
    assert sorted(order) == sorted(load_taxonomy().names)
    assert order.index("portal_vein_and_splenic_vein") == order.index("pancreas") + 1
    assert ("kidney_right", "kidney_left") in units
    assert ("femur_head_left", "femur_head_right") in units
    assert order.index("kidney_tumor") > order.index("kidney_left")


def test_what_a_rule_looks_at_is_needed_as_far_as_it_is_known():
    rules = shipped_post_process()

    assert rules.needed(["kidney_tumor"], load_taxonomy().names) == (
        "kidney_right",
        "kidney_left",
        "kidney_tumor",
    )
    assert rules.needed(["kidney_tumor"], ["kidney_tumor", "kidney_left"]) == (
        "kidney_left",
        "kidney_tumor",
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[rules]]\nkeep = "largest"\nstructures = ["tail"]', "not tail"),
        ('[[rules]]\nkeep = "all"\nstructures = ["liver"]', "'all'"),
        ('[[rules]]\nkeep = "largest"\nstructures = ["liver", "liver"]', "liver has several"),
        ('[[rules]]\nkeep = "largest"\nstructures = ["liver"]\nleast_share = 0.1', "least_share"),
        ('[[rules]]\nkeep = "largest"\nstructures = ["liver"]\nleast_ml = -1.0', "least_ml"),
        (
            '[[rules]]\nkeep = "sides"\nstructures = ["kidney_left"]\nleast_share = 0.1',
            "other side",
        ),
        (
            '[[rules]]\nkeep = "hosted"\nstructures = ["liver"]\nclose_mm = 1\nreach_mm = 1',
            "no parents",
        ),
        (
            '[[rules]]\nkeep = "largest"\nstructures = ["liver"]\nnot_below = "spleen"\n'
            '[[rules]]\nkeep = "largest"\nstructures = ["spleen"]\nnot_below = "liver"',
            "circle: spleen, liver",
        ),
        ("[[rules]", "not valid TOML"),
    ],
)
def test_a_broken_rules_file_is_a_clear_error(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        rules_of(text + "\n", tmp_path)


def test_a_missing_rules_file_is_a_clear_error(tmp_path):
    with pytest.raises(ConfigError, match=r"'own\.toml', which cannot be read"):
        post_process_in_force("own.toml", tmp_path)


def test_settings_choose_the_rules(tmp_path):
    assert post_process_in_force("off", tmp_path) is None
    assert post_process_in_force("shipped", tmp_path) is shipped_post_process()


def test_the_digest_is_of_what_the_rules_say_and_not_of_their_spelling(tmp_path):
    text = resources.files("configs").joinpath("post_process.toml").read_text(encoding="utf-8")
    (tmp_path / "same.toml").write_text("# mine\n" + text.replace("1.0\n", "1.00\n"))
    (tmp_path / "other.toml").write_text(text.replace("most = 50", "most = 51"))
    shipped = shipped_post_process()

    assert post_process_in_force("same.toml", tmp_path).digest == shipped.digest
    assert post_process_in_force("other.toml", tmp_path).digest != shipped.digest
    assert PostProcessRules.model_validate(tomllib.loads(text)) == shipped
    assert PostProcessRules.model_validate_json(shipped.content) == shipped
