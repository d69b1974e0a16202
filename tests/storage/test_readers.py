"""Many readers at one queue, with forced collisions and kills: nothing is lost, nobody shares."""

import multiprocessing
import os
import random
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from storage.claims import claim_items, release_claims
from storage.labels import base_of
from storage.rebuild import rebuild
from storage.store import Store
from storage.verdicts import Verdict, give_verdict
from storage.verify import verify

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks processes that are killed"),
]

LEASE = timedelta(minutes=5)
KINDS = ("accept", "absent", "reject", "defer")


def utc_now():
    return datetime.now(UTC).replace(tzinfo=None)


def read_items(root, case_ids, structures, reader, seed, verdicts, log):
    """Judge random items until enough verdicts are acknowledged; each claim and answer is logged.

    The log is a line a fact, flushed before the next step, so that a kill loses nothing that was
    acknowledged to this process.
    """
    chance = random.Random(seed)
    store = Store.open(root)
    given = 0
    with log.open("a") as file:
        while given < verdicts:
            case_id, structure = chance.choice(case_ids), chance.choice(structures)
            held = claim_items(
                store, case_id, [structure], reader=reader, now=utc_now(), lease=LEASE
            )
            if structure not in held:
                continue
            taken = time.monotonic()
            with store.read() as connection:
                base, _ = base_of(connection, case_id, structure)
            request_id = f"{reader}-{os.getpid()}-{given}-{chance.random()}"
            verdict = Verdict(
                case_id=case_id,
                structure=structure,
                verdict=chance.choice(KINDS),
                reader=reader,
                base_version=base,
                request_id=request_id,
                opened_at=utc_now(),
                active_s=0.1,
            )
            left = time.monotonic()
            give_verdict(store, verdict, now=utc_now())
            file.write(f"{request_id} {case_id} {structure} {taken} {left}\n")
            file.flush()
            given += 1


def start(made, reader, seed, verdicts, log):
    context = multiprocessing.get_context("fork")
    arguments = (
        made.store.workspace.root,
        made.case_ids,
        made.structures,
        reader,
        seed,
        verdicts,
        log,
    )
    child = context.Process(target=read_items, args=arguments)
    child.start()
    return child


def lines_of(logs):
    return [line.split() for log in logs if log.exists() for line in log.read_text().splitlines()]


def request_ids(store):
    with store.read() as connection:
        rows = connection.execute("SELECT request_id FROM verdicts").fetchall()
    return [row[0] for row in rows]


def views(store):
    with store.read() as connection:
        return [
            connection.execute(f"SELECT * FROM {view} ORDER BY ALL").fetchall()
            for view in ("verdicts", "label_versions", "current_verdicts", "current_labels")
        ]


def agrees_after_rebuild(store):
    before = views(store)
    store.workspace.database_path.unlink()
    rebuild(store)
    return views(store) == before


def test_ten_readers_lose_no_verdict_and_never_share_an_item(make_annotated, tmp_path):
    made = make_annotated(cases=2)
    logs = [tmp_path / f"reader {number}.log" for number in range(10)]

    children = [start(made, f"r{n}", n, 6, log) for n, log in enumerate(logs)]
    for child in children:
        child.join(240)

    assert [child.exitcode for child in children] == [0] * 10
    acknowledged = lines_of(logs)
    assert len(acknowledged) == 60
    assert sorted(request_ids(made.store)) == sorted(line[0] for line in acknowledged)
    assert overlapping(acknowledged) == []
    assert verify(made.store).findings == ()
    assert agrees_after_rebuild(made.store)


def overlapping(lines):
    """Pairs of times at which two readers held one item, from claim to just before the verdict."""
    held = sorted((case, structure, float(a), float(b)) for _, case, structure, a, b in lines)
    return [
        (first, second)
        for first, second in pairwise(held)
        if first[:2] == second[:2] and second[2] < first[3]
    ]


def test_killed_readers_lose_no_acknowledged_verdict(make_annotated, tmp_path):
    made = make_annotated(cases=1)
    chance = random.Random(3)
    log = tmp_path / "log"

    for seed in range(10):
        child = start(made, "r", seed, 10**6, log)
        time.sleep(chance.uniform(0.3, 3.0))
        os.kill(child.pid, signal.SIGKILL)
        child.join(60)
        # A killed reader's claims stand until they expire; the next one goes on at once here.
        release_claims(made.store, made.case_ids[0], reader="r")

    acknowledged = {line[0] for line in lines_of([log])}
    assert acknowledged
    assert acknowledged <= set(request_ids(made.store))
    assert len(request_ids(made.store)) == len(set(request_ids(made.store)))
    assert verify(made.store).findings == ()
    assert agrees_after_rebuild(made.store)
