import subprocess
import sys

import pytest

from configs.errors import ConfigError
from configs.layouts import load_layouts
from configs.metrics import load_metric_settings
from configs.phantom import load_phantom_sites
from configs.settings import load_settings
from configs.taxonomy import (
    VARIABLE,
    check_taxonomy_in_use,
    load_taxonomy,
    shipped_taxonomy,
    use_taxonomy,
)

UTERUS = """
[[structures]]
name = "uterus"
display = "Uterus"
group = "organ"
exclusive = ["bladder", "rectum"]
rgb = [200, 100, 150]
volume_ml = [20, 400]
surface_mm = 3
"""
MASS = """
[[structures]]
name = "adrenal_mass"
display = "Adrenal mass"
group = "tumor"
parents = ["adrenal_gland_right", "adrenal_gland_left"]
rgb = [250, 60, 60]
volume_ml = [0.1, 300]
surface_mm = 2
"""


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    """Whatever a test chooses, the next one starts with the shipped structures."""
    monkeypatch.setenv(VARIABLE, "")


@pytest.fixture
def add(tmp_path):
    def use(*entries, head="version = 1\n"):
        file = tmp_path / "taxonomy.toml"
        file.write_text(head + "".join(entries), encoding="utf-8")
        return use_taxonomy(file)

    return use


def test_added_structures_stand_behind_the_shipped_ones(add):
    taxonomy = add(UTERUS, MASS)

    assert taxonomy.names == (*shipped_taxonomy().names, "uterus", "adrenal_mass")
    assert load_taxonomy() is taxonomy
    assert taxonomy["bladder"].exclusive == (*shipped_taxonomy()["bladder"].exclusive, "uterus")
    assert taxonomy.children("adrenal_gland_left") == ("adrenal_mass",)
    for shipped in shipped_taxonomy().structures:
        if shipped.name not in ("bladder", "rectum"):
            assert taxonomy[shipped.name] == shipped


def test_the_choice_ends_with_a_workspace_that_adds_nothing(add, tmp_path):
    add(UTERUS)

    assert use_taxonomy(tmp_path / "none.toml") is shipped_taxonomy()
    assert load_taxonomy() is shipped_taxonomy()


def test_a_changed_file_is_read_anew_by_the_next_command_alone(add, tmp_path):
    before = add(UTERUS)
    (tmp_path / "taxonomy.toml").write_text("version = 1\n" + UTERUS + MASS, encoding="utf-8")
    assert load_taxonomy() is before

    assert use_taxonomy(tmp_path / "taxonomy.toml").names[-1] == "adrenal_mass"


def test_child_processes_know_the_same_structures(add):
    add(UTERUS)
    code = "from configs.taxonomy import load_taxonomy as t; print(t().names[-1])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "uterus"


def test_a_workspace_whose_structures_are_not_loaded_is_not_opened(add, tmp_path):
    add(UTERUS)
    other = tmp_path / "other.toml"
    check_taxonomy_in_use(tmp_path / "taxonomy.toml")
    check_taxonomy_in_use(other)
    other.touch()

    with pytest.raises(ConfigError, match="does not know"):
        check_taxonomy_in_use(other)


def test_the_variable_is_no_setting(add):
    add(UTERUS)

    assert load_settings(None).settings.committee == ()


def test_tolerances_layouts_and_sites_hold_with_added_structures(add):
    shipped = load_layouts()
    assert shipped.painting_order == shipped.precedence

    add(UTERUS, MASS)

    order = load_layouts().painting_order
    assert sorted(order) == sorted(load_taxonomy().names)
    assert order.index("femur_head_right") < order.index("uterus") < order.index("kidney_cyst")
    assert order[-1] == "adrenal_mass"
    values = load_layouts()["abdomenatlas"].label_values(load_taxonomy().names)
    assert (values["aorta"], values["uterus"], values["adrenal_mass"]) == (1, 33, 34)
    assert sorted(values.values()) == list(range(1, 35))
    assert load_metric_settings()["uterus"].mm == 3
    assert load_metric_settings()["liver"].source == "flare"
    load_phantom_sites.cache_clear()
    assert "uterus" not in {name for site in load_phantom_sites().sites for name in site.annotates}


PAIR = UTERUS.replace("exclusive", "side = 'left'\nexclusive")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ((UTERUS, UTERUS), "uterus stands twice"),
        ((UTERUS.replace('"uterus"', '"liver"'),), "liver is shipped"),
        ((UTERUS.replace('"uterus"', '"Uterus"'),), r"structures\.0\.name: String should match"),
        ((UTERUS.replace('"bladder", ', '"blader", '),), r"uterus refers to unknown \['blader'\]"),
        ((UTERUS.replace("surface_mm = 3", ""),), "uterus needs surface_mm"),
        ((UTERUS.replace("[20, 400]", "[400, 20]"),), "volume_ml of uterus must rise"),
        ((UTERUS.replace("200, 100", "300, 100"),), r"structures\.0\.rgb"),
        ((UTERUS + "colour = 1\n",), "Extra inputs"),
        ((UTERUS.replace("exclusive", 'parents = ["bladder"]\nexclusive'),), "contain one another"),
        ((UTERUS.replace("exclusive", 'parents = ["kidney_cyst"]\nexclusive'),), "lie in a lesion"),
        ((MASS.replace('"adrenal_gland_right", "adrenal_gland_left"', ""),), "needs the organs"),
        ((MASS.replace('"adrenal_gland_left"', '"uterus"'), UTERUS), "stand before it"),
        ((UTERUS, MASS.replace("parents", 'exclusive = ["uterus"]\nparents')), "both ways"),
        ((PAIR,), "its name must say so"),
        ((PAIR.replace('"uterus"', '"ovary_left"'),), "ovary_right must be there"),
        (("[same_anatomy]\na = ['liver', 'lever']\n", UTERUS), r"unknown \['lever'\]"),
        (("[[structures",), "cannot add structures"),
        ((), "structures: Field required"),
    ],
)
def test_broken_additions_are_refused_and_change_nothing(add, entries, message):
    with pytest.raises(ConfigError, match=message):
        add(*entries)

    assert load_taxonomy() is shipped_taxonomy()


def test_sides_may_be_added_in_pairs(add):
    left = PAIR.replace('"uterus"', '"ovary_left"')
    right = left.replace("left", "right")

    assert add(left, right).names[-2:] == ("ovary_left", "ovary_right")
    with pytest.raises(ConfigError, match="ovary_right must have the side right"):
        add(left, right.replace("side = 'right'", ""))
