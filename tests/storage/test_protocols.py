import hashlib
import json

import pytest

from configs.errors import UsageError
from storage import projection
from storage.protocols import kept_protocol, protocol_of, protocols_in_force, verdicts_by_protocol
from storage.rebuild import rebuild
from storage.verify import verify
from tests.old_schema import before

OWN = """
version = 2
structures = ["liver"]
summary = "Our liver."
includes = ["all of it"]
"""


@pytest.fixture
def made(make_annotated):
    return make_annotated(cases=1)


@pytest.fixture
def readings(made, make_readings):
    return make_readings(made)


def replace_protocol(made):
    made.store.workspace.protocols_path.mkdir()
    (made.store.workspace.protocols_path / "liver.toml").write_text(OWN)


def rows(made):
    with made.store.read() as connection:
        return connection.execute("SELECT * FROM verdict_protocols").fetchall()


def test_a_version_is_the_hash_of_all_that_a_protocol_says(made):
    found = protocols_in_force(made.store)["liver"]
    said = json.dumps(found.protocol.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    assert found.version == hashlib.sha256(said.encode()).hexdigest()


def test_each_verdict_keeps_the_version_and_the_words_of_its_protocol(made, readings):
    case_id = made.case_ids[0]
    first = protocol_of(made.store, "liver")
    readings.review(case_id, "liver", "accept")
    replace_protocol(made)
    readings.review(case_id, "liver", "reject")

    second = protocol_of(made.store, "liver")
    with made.store.read() as connection:
        assert verdicts_by_protocol(connection)["liver"] == {first.version: 1, second.version: 1}
    last = json.loads(made.store.journal.path.read_text().splitlines()[-1])
    assert last["data"]["protocol"] == second.version
    assert kept_protocol(made.store, first.version[:10]) == first
    assert kept_protocol(made.store, second.version).protocol.summary == "Our liver."


def test_an_independent_reading_keeps_its_protocol_too(made, readings):
    readings.read(made.case_ids[0], "spleen", "absent")

    ((_, version),) = rows(made)
    assert version == protocol_of(made.store, "spleen").version


@pytest.mark.parametrize("version", ["", "ffff"])
def test_a_version_that_no_verdict_names_is_refused(made, readings, version):
    readings.review(made.case_ids[0], "liver", "accept")

    with pytest.raises(UsageError, match="names one protocol"):
        kept_protocol(made.store, version)


def test_rebuild_brings_them_back_and_verify_looks_at_their_words(made, readings):
    readings.review(made.case_ids[0], "liver", "accept")
    before = rows(made)
    rebuild(made.store)
    assert rows(made) == before
    assert verify(made.store).findings == ()

    path = made.store.objects.path(before[0][1])
    path.chmod(0o644)
    path.write_bytes(b"{}")

    (finding,) = verify(made.store).findings
    assert before[0][1] in finding.place


def test_a_database_from_before_there_were_protocols_opens(made, readings, monkeypatch):
    readings.review(made.case_ids[0], "liver", "accept")
    known = rows(made)
    handler = projection._HANDLERS["verdict.given"]

    def without_protocol(connection, line, objects):
        line.data.pop("protocol")
        handler(connection, line, objects)

    with monkeypatch.context() as old:
        before(old, 8)
        old.setitem(projection._HANDLERS, "verdict.given", without_protocol)
        rebuild(made.store)

    assert rows(made) == []
    readings.review(made.case_ids[0], "stomach", "accept")
    assert len(rows(made)) == 1
    rebuild(made.store)
    assert rows(made)[:1] == known
