from collections import Counter

import pytest
from pydantic import ValidationError

from configs.errors import UsageError
from configs.phantom import PhantomSites, load_phantom_sites
from configs.taxonomy import load_taxonomy

SMALL_ML = 80
"""Organs whose plausible volume starts below a tenth of this are the hard ones."""


def test_shipped_sites_are_five_and_one_is_unseen() -> None:
    sites = load_phantom_sites()

    assert len(sites.training) >= 3
    assert [site.name for site in sites.unseen] == ["elm"]
    assert len(sites.sites) == len(sites.training) + len(sites.unseen)


def test_every_structure_is_annotated_by_a_training_site() -> None:
    learned = Counter(name for site in load_phantom_sites().training for name in site.annotates)

    assert set(learned) == set(load_taxonomy().names)


def test_small_organs_and_lesions_are_annotated_by_two_training_sites() -> None:
    learned = Counter(name for site in load_phantom_sites().training for name in site.annotates)
    small = [s.name for s in load_taxonomy().structures if s.volume_ml[0] < SMALL_ML / 10]

    assert "adrenal_gland_left" in small
    assert "celiac_trunk" in small
    assert [name for name in small if learned[name] < 2] == []


def test_training_sites_annotate_different_structures() -> None:
    training = load_phantom_sites().training

    assert len({site.annotates for site in training}) == len(training)
    assert all(len(site.annotates) < len(load_taxonomy().names) for site in training)


def test_sites_scan_differently() -> None:
    protocols = [site.protocol.model_dump_json() for site in load_phantom_sites().sites]

    assert len(set(protocols)) == len(protocols)
    assert sum(site.protocol.spacing_mm == (3, 3, 3) for site in load_phantom_sites().sites) >= 3


def test_select_keeps_the_order_of_the_file() -> None:
    names = [site.name for site in load_phantom_sites().select(["elm", "aspen"])]

    assert names == ["aspen", "elm"]


@pytest.mark.parametrize("names", [["aspen", "oak"], []])
def test_select_refuses_unknown_sites(names: list[str]) -> None:
    with pytest.raises(UsageError, match="sites must be some of aspen"):
        load_phantom_sites().select(names)


def test_unknown_keys_and_structures_are_refused() -> None:
    content = load_phantom_sites().model_dump()
    content["sites"][0]["colour"] = "red"
    with pytest.raises(ValidationError, match="colour"):
        PhantomSites.model_validate(content)

    content = load_phantom_sites().model_dump()
    content["sites"][0]["annotates"] = ("liver", "spleen")
    with pytest.raises(ValidationError, match="channel order"):
        PhantomSites.model_validate(content)


def test_a_structure_that_nobody_annotates_is_refused() -> None:
    content = load_phantom_sites().model_dump()
    content["sites"] = [site for site in content["sites"] if site["name"] in ("aspen", "elm")]

    with pytest.raises(ValidationError, match="no training site annotates"):
        PhantomSites.model_validate(content)
