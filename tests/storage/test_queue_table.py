import json
import tempfile

import numpy as np
import pytest

from flows.init import init
from storage.canonical_json import to_bytes
from storage.grid import Grid
from storage.predictions import Manifest, close_case
from storage.queue import QueueEntry, ranked_how, read_queue, write_queue, write_snapshot
from storage.queue_table import TYPES, packed_queue
from storage.rebuild import rebuild
from storage.verify import verify


def columns(n=2, **changes):
    values = {
        "position": np.arange(1, n + 1),
        "kind": np.array(["present"] * n, object),
        "case_id": np.array(["c-000000000001"] * n, object),
        "structure": np.array(["liver", "spleen"][:n], object),
        "reason": np.array(["it's 3 % off"] * n, object),
        **{name: np.full(n, 0.5) for name, (kind, _) in TYPES.items() if kind is np.float64},
    }
    return {**values, **changes}


@pytest.fixture
def closed(tmp_path):
    return made(tmp_path / "w")


def made(root):
    """A workspace in which a committee closed one case."""
    store = init(root)
    manifest = Manifest(
        case_id="c-000000000001",
        committee_id="k-1",
        members=(),
        grid=Grid.from_affine((4, 4, 4), np.eye(4)),
        masks=(),
        maps=(),
        scores=(),
    )
    close_case(store, manifest, run_id="r-1", seconds=1.0)
    return store


def entries(store):
    with store.read() as connection:
        return [one.entry for one in read_queue(connection, kind="present", limit=10)]


def test_rows_come_back_as_they_were_and_no_number_as_none(closed):
    rows = columns(predicted_dsc=np.array([0.71, np.nan]))
    facts = {"policy": "expected_gain", "words": "uncalibrated"}

    write_snapshot(closed, rows, committee_id="k-1", facts=facts)

    first, second = entries(closed)
    assert (first.predicted_dsc, second.predicted_dsc) == (0.71, None)
    assert (first.reason, first.minutes, first.position) == ("it's 3 % off", 0.5, 1)
    with closed.read() as connection:
        assert ranked_how(connection) == facts


def test_rebuild_makes_the_queue_again_of_the_last_snapshot_alone(closed):
    write_queue(closed, [], committee_id="k-1", policy="entropy")
    write_snapshot(closed, columns(), committee_id="k-1", facts={"policy": "volume_outlier"})
    write_snapshot(closed, columns(), committee_id="k-1", facts={"policy": "entropy"})
    before = entries(closed)

    rebuild(closed)

    assert entries(closed) == before != []
    with closed.read() as connection:
        ((rows,),) = connection.execute("SELECT count(*) FROM queue_items").fetchall()
        assert (rows, ranked_how(connection)) == (len(before), {"policy": "entropy"})
    assert verify(closed).findings == ()


@pytest.mark.parametrize("name", ["a'b", "w *", "[1] ä b"])
def test_folders_with_odd_names_hold_their_own_queue_alone(tmp_path, monkeypatch, name):
    stores = []
    # The second name fits the first one where that is taken for a pattern.
    for folder in (name, name.replace("*", "x") + "2"):
        (tmp_path / folder).mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / folder))
        stores.append(made(tmp_path / folder / "w"))
        write_snapshot(stores[-1], columns(), committee_id="k-1", facts={"policy": "entropy"})

    rebuild(stores[0])

    assert [one.position for one in entries(stores[0])] == [1, 2]


def test_a_damaged_snapshot_is_found(closed):
    write_snapshot(closed, columns(), committee_id="k-1", facts={"policy": "entropy"})
    line = list(closed.journal.lines())[-1]
    closed.objects.path(line.data["table"]).write_bytes(b"")

    assert "missing or altered" in str(verify(closed).findings[0])


def test_snapshots_from_before_there_were_estimates_are_read(closed):
    item = {
        "position": 1,
        "kind": "present",
        "case_id": "c-000000000001",
        "structure": "liver",
        "risk": 0.4,
        "reason": "old",
    }
    items = closed.objects.put(to_bytes({"items": [item]}))
    with closed.transaction() as transaction:
        transaction.record(
            "queue.ranked", {"committee_id": "k-1", "policy": "disagreement", "items": items}
        )

    assert entries(closed) == [QueueEntry(**json.loads(json.dumps(item)))]


def test_entries_and_an_empty_queue_can_be_written(closed):
    write_queue(
        closed,
        [QueueEntry(1, "present", "c-000000000001", "liver", 0.5, "why", gain=0.1)],
        committee_id="k-1",
        policy="disagreement",
    )
    assert [(one.gain, one.predicted_dsc) for one in entries(closed)] == [(0.1, None)]

    write_queue(closed, [], committee_id="k-1", policy="disagreement")
    assert entries(closed) == []


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="equally long"):
        packed_queue(columns(risk=np.zeros(3)))
