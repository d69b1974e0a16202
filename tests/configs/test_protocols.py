import xml.etree.ElementTree as ElementTree

import pytest

from configs.errors import ConfigError
from configs.protocols import load_protocols
from configs.taxonomy import load_taxonomy

OWN = """
version = 3
structures = ["aorta"]
summary = "The abdominal aorta alone."
includes = ["wall and lumen below the diaphragm"]
"""


def test_every_structure_has_a_protocol_that_says_where_it_ends():
    found = load_protocols()

    assert tuple(found) == load_taxonomy().names
    for name, protocol in found.items():
        assert name in protocol.structures
        assert min(len(part) for part in (protocol.excludes, protocol.limits)) > 0, name
        assert protocol.pitfalls, name


@pytest.mark.parametrize("name", ["aorta", "stomach", "duodenum", "femur_head_left"])
def test_the_borders_that_readers_dispute_are_drawn(name):
    picture = ElementTree.fromstring(load_protocols()[name].picture)  # noqa: S314 our own file

    assert picture.tag.endswith("svg")
    assert not [one for one in picture.iter() if one.tag.endswith(("script", "image", "a"))]


def test_a_folder_s_protocol_goes_before_the_shipped_one_and_is_read_again(tmp_path):
    assert load_protocols(tmp_path / "none") == load_protocols()
    (tmp_path / "aorta.toml").write_text(OWN)

    found = load_protocols(tmp_path)
    assert found["aorta"].version == 3
    assert found["liver"] == load_protocols()["liver"]

    (tmp_path / "aorta.toml").write_text(OWN.replace("version = 3", "version = 40"))
    assert load_protocols(tmp_path)["aorta"].version == 40


def test_a_folder_s_picture_is_part_of_the_protocol(tmp_path):
    (tmp_path / "aorta.toml").write_text(OWN + 'picture = "own.svg"\n')
    (tmp_path / "own.svg").write_text("<svg/>\n")

    assert load_protocols(tmp_path)["aorta"].picture == "<svg/>\n"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (("aorta", "tail"), "known structures, got 'tail'"),
        (("version = 3", "version = 0"), "aorta.toml is not valid"),
        (("includes", "include"), "aorta.toml is not valid"),
        (("version = 3", "version ="), "aorta.toml is not valid"),
        (("version = 3", 'version = 3\npicture = "../x.svg"'), "an .svg beside it"),
        (("version = 3", 'version = 3\npicture = "x.svg"'), "aorta.toml is not valid"),
    ],
)
def test_broken_protocols_are_named(tmp_path, change, match):
    (tmp_path / "aorta.toml").write_text(OWN.replace(*change))

    with pytest.raises(ConfigError, match=match):
        load_protocols(tmp_path)


def test_two_protocols_of_one_structure_are_refused(tmp_path):
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text(OWN)

    with pytest.raises(ConfigError, match=r"b\.toml is another of aorta"):
        load_protocols(tmp_path)
