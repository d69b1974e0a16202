import secrets
from datetime import datetime, timedelta

import pytest

from configs.errors import AccessError, UsageError
from storage import label_projection, projection, verdicts
from storage.claims import claim_items
from storage.labels import base_of
from storage.reader_registry import register_reader, registered_readers, remove_reader
from storage.readers import Actor
from storage.rebuild import rebuild
from storage.roles import Action, Role, check_allowed, is_allowed, registered_roles
from storage.verdicts import Verdict, give_verdict
from storage.verify import verify
from tests.old_schema import before, other_than_queue

NOW = datetime(2026, 1, 5, 12, 0)
LEASE = timedelta(minutes=10)
ADMIN = Actor("ada")


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=1)


def roles(made):
    with made.store.read() as connection:
        return {one.name: one.role for one in registered_readers(connection)}


def lines(made):
    return [line.kind for line in made.store.journal.lines()]


def test_workspace_without_readers_is_open_to_every_name(made):
    with made.store.read() as connection:
        for action in Action:
            check_allowed(connection, "anybody", action)
            check_allowed(connection, None, action)
        found = registered_roles(connection)

    assert found == {}
    assert all(is_allowed(found, name, action) for name in ("anybody", None) for action in Action)


def test_first_reader_is_an_admin(made):
    with pytest.raises(UsageError, match="need an admin"):
        register_reader(made.store, "ben", Role.ANNOTATOR, by=None)

    register_reader(made.store, "ada", Role.ADMIN, by=None)

    assert roles(made) == {"ada": "admin"}


def test_role_given_again_is_changed_and_history_says_by_whom(made):
    register_reader(made.store, "ada", Role.ADMIN, by=None)
    register_reader(made.store, "ben", Role.ANNOTATOR, by=ADMIN)
    register_reader(made.store, "ben", Role.REVIEWER, by=ADMIN)
    before = lines(made)
    register_reader(made.store, "ben", Role.REVIEWER, by=ADMIN)

    assert lines(made) == before
    with made.store.read() as connection:
        found = registered_readers(connection)
        told = connection.execute(
            "SELECT reader, role, given_by FROM reader_roles ORDER BY seq"
        ).fetchall()
    assert [(one.name, one.role, one.given_by, one.verified) for one in found] == [
        ("ada", "admin", None, False),
        ("ben", "reviewer", "ada", False),
    ]
    assert told[1:] == [("ben", "annotator", "ada"), ("ben", "reviewer", "ada")]


@pytest.mark.parametrize("who", [None, Actor("ben"), Actor("stranger")])
def test_only_an_admin_changes_roles(made, who):
    register_reader(made.store, "ada", Role.ADMIN, by=None)
    register_reader(made.store, "ben", Role.REVIEWER, by=ADMIN)
    before = lines(made)

    for change in (
        lambda: register_reader(made.store, "ben", Role.ADMIN, by=who),
        lambda: remove_reader(made.store, "ada", by=who),
    ):
        with pytest.raises(AccessError):
            change()

    assert lines(made) == before


def test_last_admin_stays_while_others_are_registered(made):
    register_reader(made.store, "ada", Role.ADMIN, by=None)
    register_reader(made.store, "ben", Role.REVIEWER, by=ADMIN)

    for change in (
        lambda: remove_reader(made.store, "ada", by=ADMIN),
        lambda: register_reader(made.store, "ada", Role.REVIEWER, by=ADMIN),
    ):
        with pytest.raises(UsageError, match="need an admin"):
            change()

    remove_reader(made.store, "ben", by=ADMIN)
    remove_reader(made.store, "ada", by=ADMIN)
    assert roles(made) == {}


def test_removed_reader_is_refused_but_keeps_verdicts_and_loses_claims(made):
    register_reader(made.store, "ada", Role.ADMIN, by=None)
    register_reader(made.store, "ben", Role.ANNOTATOR, by=ADMIN)
    judge(made, "ben")
    claim(made, "ben", "stomach")

    remove_reader(made.store, "ben", by=ADMIN)

    with pytest.raises(AccessError, match="'ben' is none"):
        judge(made, "ben", "stomach")
    assert set(claim(made, "ada", "stomach")) == {"stomach"}
    with made.store.read() as connection:
        assert connection.execute("SELECT reader FROM verdicts").fetchall() == [("ben",)]


def test_removed_admin_may_do_nothing(made):
    register_reader(made.store, "ada", Role.ADMIN, by=None)
    register_reader(made.store, "ben", Role.ADMIN, by=ADMIN)
    remove_reader(made.store, "ben", by=ADMIN)

    with made.store.read() as connection:
        for action in Action:
            with pytest.raises(AccessError, match="'ben' is none"):
                check_allowed(connection, "ben", action)


def test_nobody_is_removed_who_is_not_registered(made):
    with pytest.raises(UsageError, match="registered are: none"):
        remove_reader(made.store, "ben", by=None)


def test_role_of_a_newer_program_may_do_nothing(made):
    register_reader(made.store, "ada", Role.ADMIN, by=None)
    facts = {"reader": "zoe", "role": "owner", "by": "ada", "verified": False}
    with made.store.transaction() as transaction:
        transaction.record("reader.registered", facts)

    with made.store.read() as connection:
        for action in Action:
            with pytest.raises(AccessError, match="has owner"):
                check_allowed(connection, "zoe", action)


def test_verdict_says_whether_its_name_was_verified(made):
    judge(made, "ben", verified=True)
    judge(made, "ben", "stomach")

    with made.store.read() as connection:
        rows = connection.execute("SELECT structure, verified FROM verdicts ORDER BY seq")
        assert rows.fetchall() == [("liver", True), ("stomach", False)]


def test_rebuild_brings_readers_back(made):
    register_reader(made.store, "ada", Role.ADMIN, by=None)
    register_reader(made.store, "ben", Role.REVIEWER, by=ADMIN)
    remove_reader(made.store, "ben", by=ADMIN)

    rebuild(made.store)

    assert roles(made) == {"ada": "admin"}
    verify(made.store).raise_for_findings()


def test_database_from_before_there_were_roles_opens(made, monkeypatch):
    """It is brought to the new schema, keeps its verdicts, and takes new ones."""
    facts = verdicts._facts
    with monkeypatch.context() as old:
        old.setattr(
            verdicts,
            "_facts",
            lambda *given: without(facts(*given), "verified", "restores", "protocol"),
        )
        judge(made, "ben")
        before(old, 7)
        old.setitem(projection._HANDLERS, "verdict.given", verdict_given_before_roles)
        rebuild(made.store)
        with made.store.read() as connection:
            names = connection.execute("SELECT name FROM pragma_table_info('verdicts')").fetchall()
            assert connection.execute("SELECT count(*) FROM current_verdicts").fetchone() == (1,)
    assert ("verified",) not in names

    judge(made, "ben", "stomach")

    with made.store.read() as connection:
        found = connection.execute(
            "SELECT structure, verified, restores FROM current_verdicts ORDER BY structure"
        ).fetchall()
    assert found == [("liver", None, None), ("stomach", False, None)]
    assert other_than_queue(verify(made.store).findings) == []


def verdict_given_before_roles(connection, line, objects):
    """Insert what the schema before had columns for."""
    names = ("case_id", "structure", "reading", "verdict", "reader", "tags", "base_version")
    names += ("request_id", "opened_at", "active_s", "voxels_changed")
    values = [line.line_hash, *(line.data[name] for name in names), line.seq, line.at]
    connection.execute(f"INSERT INTO verdicts VALUES ({', '.join('?' * len(values))})", values)
    source = f"reader:{line.data['reader']}"
    label_projection._insert_versions(connection, line, source=source, reading="review")


def without(facts, *names):
    return {key: value for key, value in facts.items() if key not in names}


def claim(made, reader, structure="liver"):
    return claim_items(
        made.store, made.case_ids[0], [structure], reader=reader, now=NOW, lease=LEASE
    )


def judge(made, reader, structure="liver", **changes):
    claim(made, reader, structure)
    with made.store.read() as connection:
        base, _ = base_of(connection, made.case_ids[0], structure)
    verdict = Verdict(
        case_id=made.case_ids[0],
        structure=structure,
        verdict="accept",
        reader=reader,
        base_version=base,
        request_id=secrets.token_hex(8),
        opened_at=NOW,
        active_s=1.0,
        **changes,
    )
    return give_verdict(made.store, verdict, now=NOW)
