import numpy as np

from model.triage.estimates import Estimates
from model.triage.evaluation import KnownLabels
from model.triage.fault_sharing import faults_found
from model.triage.policies import Ranking
from model.triage.score_table import score_table


class Fitted:
    """Triage that learned nothing."""

    def estimates(self, table):
        known = np.ones(len(table))
        return Estimates(known, known, known, known, known, known, 1.0, "none", "")


def test_faults_are_counted_by_sharing_and_found_at_the_head_of_the_queue():
    n = 20
    dice = np.linspace(0.5, 0.99, n)
    table = score_table(
        case_ids=[str(one) for one in range(n)],
        structures=["liver"],
        case=np.arange(n),
        patient=np.arange(n),
        structure=np.zeros(n),
        scores={
            "volume_ml": np.full(n, 9.0),
            "covering_members": np.full(n, 3.0),
            "pairwise_dice": dice,
        },
    )
    dsc = np.full(n, 0.95)
    faulty = np.zeros(n, np.int32)
    # The worst agreement, a label further back, one that all members share, and one that is well.
    for place, members, value in ((0, 1, 0.4), (10, 2, 0.5), (19, 3, 0.1), (5, 1, 0.9)):
        faulty[place], dsc[place] = members, value
    labels = KnownLabels(table, dsc, np.ones(n, bool))
    ranking = Ranking(policy="disagreement", weights=np.ones(1), ceilings=np.ones(1))

    found = faults_found(labels, faulty, Fitted(), ranking, queued=np.ones(n, bool))

    assert [(one.sharing, one.labels, one.bad, one.found) for one in found] == [
        ("one member", 2, 1, 1.0),
        ("some members", 1, 1, 0.0),
        ("all members", 1, 1, 0.0),
    ]
