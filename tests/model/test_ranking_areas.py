import numpy as np
import pytest

from model.ranking_quality import Outcome, excess_aurc, ranking_summary, share_found

DSC = np.array([0.9, 0.5, 0.7])


def test_the_perfect_order_has_no_excess():
    assert excess_aurc(1 - DSC, DSC) == pytest.approx(0.0)


def test_the_excess_of_the_worst_order_by_hand():
    """Errors 0.5, 0.3, 0.1 in that order: means 0.5, 0.4, 0.3; best 0.1, 0.2, 0.3."""
    assert excess_aurc(DSC, DSC) == pytest.approx((0.5 + 0.4 + 0.3) / 3 - (0.1 + 0.2 + 0.3) / 3)


def test_equal_risks_count_as_random_order():
    generator = np.random.default_rng(0)
    dsc = generator.random(6)
    drawn = [excess_aurc(generator.permutation(6) * 1.0, dsc) for _ in range(4000)]

    assert excess_aurc(np.zeros(6), dsc) == pytest.approx(np.mean(drawn), abs=0.005)


def test_share_found_by_hand():
    dsc = np.array([0.2, 0.9, 0.3, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9])
    risk = np.array([9.0, 8.0, 7.0, *np.arange(7.0)[::-1]])

    assert share_found(risk, dsc, looked_at=0.1, bad_below=0.8) == pytest.approx(0.5)
    assert share_found(risk, dsc, looked_at=0.05, bad_below=0.8) == pytest.approx(0.25)
    assert share_found(risk, dsc, looked_at=0.3, bad_below=0.8) == pytest.approx(1.0)
    assert share_found(np.zeros(10), dsc, looked_at=0.3, bad_below=0.8) == pytest.approx(0.3)
    assert share_found(risk, dsc, looked_at=0.3, bad_below=0.1) is None


def test_nothing_has_no_area_and_faulty_numbers_are_refused():
    empty = np.empty(0)

    assert excess_aurc(empty, empty) is None
    with pytest.raises(ValueError, match="one shape"):
        excess_aurc(np.zeros(2), DSC)
    with pytest.raises(ValueError, match="finite"):
        share_found(np.array([np.nan, 0, 1]), DSC, looked_at=0.1, bad_below=0.8)


def outcomes(structure, risks, dscs):
    return [
        Outcome(structure=structure, risk=risk, dsc=dsc)
        for risk, dsc in zip(risks, dscs, strict=True)
    ]


def test_structures_count_alike_in_a_summary():
    """One structure in perfect order, one with more cases in the worst."""
    good = outcomes("liver", 1 - DSC, DSC)
    wrong = outcomes("colon", [0.0, 1.0, 2.0, 3.0], [0.1, 0.2, 0.3, 0.4])

    summary = ranking_summary(good + wrong)

    worst = np.mean([0.9, 0.85, 0.8, 0.75]) - np.mean([0.6, 0.65, 0.7, 0.75])
    assert summary.spearman == pytest.approx(0.0)
    assert summary.excess_aurc == pytest.approx(worst / 2)
    assert summary.found_first_10 == pytest.approx((0.3 / 2 + 0.1) / 2)
    assert summary.structures["spearman"] == 2
    assert summary.n == 7


def test_only_good_labels_are_ranked_where_asked():
    labels = outcomes("liver", [0.1, 0.2, 0.3, 0.0], [0.95, 0.9, 0.85, 0.1])

    assert ranking_summary(labels).spearman < 1
    assert ranking_summary(labels, only_above=0.8).spearman == pytest.approx(1.0)
    assert ranking_summary(labels, only_above=0.8).found_first_5 is None
    assert ranking_summary([]).n == 0
