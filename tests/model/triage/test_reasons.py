from model.triage.reasons import ReasonFacts, reason


def facts(**changes):
    values = {
        "volume_ml": 300.0,
        "covering": 3,
        "seeing": 3,
        "pairwise_dice": 0.62,
        "low_ml": 210.0,
        "high_ml": 340.0,
    }
    return ReasonFacts(**{**values, **changes})


def test_disagreement_is_told_with_volumes_and_the_odd_one_out():
    assert reason(facts(odd_one="m2")) == (
        "the members overlap by only 0.62 (pairwise Dice); volumes run from 210 to 340 mL; "
        "member m2 differs most"
    )


def test_equal_volumes_are_told_once():
    assert "all see 210 mL" in reason(facts(high_ml=210.2, pairwise_dice=0.95))


def test_a_single_member_is_told_to_be_a_weaker_sign():
    alone = facts(covering=1, seeing=1, pairwise_dice=None, only_member="m1", self_consistency=0.9)

    assert reason(alone) == (
        "only m1 covers this structure, so nothing can be compared; its probabilities agree with "
        "their own mask by 0.90 (self-consistency), a weaker sign; volume 300 mL"
    )
    assert "when its input changes a little" in reason(alone._replace(tta_dice=0.8))
    assert "no number says" in reason(alone._replace(self_consistency=None))


def test_a_missed_structure_names_who_sees_it():
    missed = facts(volume_ml=0.0, seeing=1, seen_by="m2 (12 mL)")

    assert reason(missed) == "the consensus is empty, but 1 of 3 members sees it: m2 (12 mL)"


def test_a_nearly_seen_structure_names_the_probability():
    assert reason(facts(volume_ml=0.0, seeing=0, max_probability=0.41)) == (
        "no member has a mask, but a probability reaches 0.41"
    )


def test_findings_and_candidates_are_added():
    words = reason(facts(finding="pieces, side", findings=2, candidates=3, candidate_peak=0.4))

    assert words.endswith(
        "; anatomy speaks against it (pieces, side); 3 places outside the mask may be one, up to "
        "probability 0.40"
    )
