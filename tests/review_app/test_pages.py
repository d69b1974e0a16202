"""The pages as scripts, without a browser."""

import shutil
from datetime import datetime, timedelta

import pytest

from review_app import case_images, case_page, queue_page, session
from review_app.session import utc_now
from storage.claims import claim_items, release_claims
from storage.protocols import protocol_of
from storage.reader_registry import register_reader
from storage.roles import Role
from storage.store import Store
from tests.review_app.app_script import again, keys, press, run, texts

LEASE = timedelta(minutes=10)


@pytest.fixture
def own_cts():
    return False


@pytest.fixture
def made(make_annotated, own_cts, monkeypatch):
    workspace = make_annotated(cases=2, own_cts=own_cts)
    monkeypatch.setenv("ATLASLOOP_WORKSPACE", str(workspace.store.workspace.root))
    monkeypatch.setenv("ATLASLOOP_REVIEW__READER", "anna")
    session.desk.cache_clear()
    # It reads the database on its own, which some tests count.
    monkeypatch.setattr(queue_page, "prefetch_after", lambda here, case_id: None)
    # Every test's CTs hold the same voxels: none may be served from the test before.
    case_images._cts.cache_clear()
    yield workspace
    session.desk.cache_clear()


@pytest.fixture
def reads(monkeypatch):
    """Counts how often the database is opened for a page."""
    opened = []
    read = Store.read

    def counted(self):
        opened.append(datetime.now())
        return read(self)

    monkeypatch.setattr(Store, "read", counted)
    return opened


def verdicts(made):
    with made.store.read() as connection:
        return connection.execute(
            "SELECT structure, verdict, reading, tags FROM verdicts ORDER BY seq"
        ).fetchall()


def assign(made, structure):
    facts = {"case_id": made.case_ids[0], "structures": [structure], "reader": "anna"}
    with made.store.transaction() as transaction:
        transaction.record("reading.assigned", facts)


def test_queue_lists_items_with_one_read(made, reads):
    app = run()

    assert len([key for key in keys(app) if key.startswith("open-")]) == 6
    assert len(reads) == 1


def test_queue_filters_by_structure(made):
    app = run()
    app.multiselect(key="filter-structures").select("liver").run()

    found = {key.rsplit("-", 1)[1] for key in keys(app) if key.startswith("open-")}
    assert found == {"liver"}


def test_queue_without_triage_says_what_to_do(made):
    with made.store.transaction() as transaction:
        transaction.connection.execute("DELETE FROM queue_snapshots")

    assert "atlasloop annotate" in texts(run())


def test_case_page_reads_again_only_what_was_written_and_claims_once(made, reads):
    case_id = made.case_ids[0]
    app = run(view="case", case=case_id)
    assert len(reads) == 1

    # The claims were written since; then nothing is.
    press(app, f"choose-{case_id}-stomach")
    press(app, f"choose-{case_id}-spleen")
    press(app, f"choose-{case_id}-liver")
    assert len(reads) == 2
    with made.store.read() as connection:
        claims = connection.execute("SELECT structure, reader FROM claims").fetchall()
    assert sorted(claims) == [("liver", "anna"), ("spleen", "anna"), ("stomach", "anna")]


def test_what_another_reader_wrote_is_seen_at_the_next_rerun(made):
    case_id = made.case_ids[0]
    app = run(view="case", case=case_id)
    again(app)

    release_claims(made.store, case_id, reader="anna")
    claim_items(made.store, case_id, ["liver"], reader="bert", now=utc_now(), lease=LEASE)
    again(app)

    assert "held by bert" in texts(app)


def test_a_claim_that_ends_is_seen_though_nothing_was_written(made, reads, monkeypatch):
    case_id = made.case_ids[0]
    claim_items(made.store, case_id, ["liver"], reader="bert", now=utc_now(), lease=LEASE)
    app = run(view="case", case=case_id, structure="liver")
    again(app)
    read = len(reads)
    again(app)
    assert len(reads) == read
    assert "held by bert" in texts(app)

    monkeypatch.setattr(case_page, "utc_now", lambda: utc_now() + 2 * LEASE)
    again(app)

    assert len(reads) == read + 1
    assert "held by bert" not in texts(app)


@pytest.mark.parametrize("kind", ["accept", "absent", "reject", "defer"])
def test_verdict_button_commits_and_goes_on(made, kind):
    case_id = made.case_ids[0]
    app = run(view="case", case=case_id)

    press(app, f"{kind}-{case_id}-liver")

    assert verdicts(made) == [("liver", kind, "review", [])]
    assert f"accept-{case_id}-stomach" in keys(app)


def test_tags_go_with_the_verdict(made):
    case_id = made.case_ids[0]
    app = run(view="case", case=case_id)
    (tags,) = (group for group in app.get("button_group") if group.key.startswith("tags-"))
    tags.set_value(["under", "leak"]).run()

    press(app, f"reject-{case_id}-liver")

    assert verdicts(made) == [("liver", "reject", "review", ["leak", "under"])]


def test_held_structure_can_be_looked_at_but_not_judged(made):
    case_id = made.case_ids[0]
    claim_items(made.store, case_id, ["liver"], reader="bert", now=utc_now(), lease=LEASE)

    app = run(view="case", case=case_id, structure="liver")

    assert "held by bert" in texts(app)
    assert app.button(key=f"accept-{case_id}-liver").disabled


def test_leaving_the_case_gives_its_claims_back(made):
    app = run(view="case", case=made.case_ids[0])

    press(app, "go-queue")

    with made.store.read() as connection:
        assert connection.execute("SELECT count(*) FROM claims").fetchone() == (0,)


def test_next_goes_to_the_next_ct_when_all_is_judged(made):
    case_id = made.case_ids[0]
    app = run(view="case", case=case_id)
    for structure in made.structures:
        press(app, f"accept-{case_id}-{structure}")

    press(app, f"next-{case_id}-spleen")

    assert f"accept-{made.case_ids[1]}-liver" in keys(app)


@pytest.mark.parametrize("own_cts", [True])
def test_missing_ct_is_named_without_its_path(made, tmp_path):
    shutil.rmtree(tmp_path / "cts")

    app = run(view="case", case=made.case_ids[0])

    assert "are gone" in app.error[0].value
    assert str(tmp_path) not in app.error[0].value


def test_unknown_case_is_an_error_in_words(made):
    app = run(view="case", case="c-unknown")

    assert "no case 'c-unknown' is known" in app.error[0].value


def test_reading_page_shows_nothing_of_the_model(made, reads):
    assign(made, "liver")

    app = run(view="readings")

    assert len(reads) == 1
    assert "members disagree" not in texts(app)
    assert len(app.toggle) == 0
    press(app, f"absent-reading-{made.case_ids[0]}-liver")
    assert verdicts(made) == [("liver", "absent", "independent", [])]
    assert "No reading is assigned" in texts(app)


def test_structure_to_be_read_first_is_not_on_the_case_page(made):
    assign(made, "liver")

    app = run(view="case", case=made.case_ids[0])

    assert not [key for key in keys(app) if key.endswith("-liver")]


def test_app_without_a_reader_says_how_to_name_one(made, monkeypatch):
    monkeypatch.delenv("ATLASLOOP_REVIEW__READER")
    session.desk.cache_clear()

    assert "--reader NAME" in run().error[0].value


@pytest.mark.parametrize("view", ["queue", "case", "readings"])
def test_stranger_sees_no_page_once_readers_are_registered(made, view):
    register_reader(made.store, "ada", Role.ADMIN, by=None)

    app = run(view=view, case=made.case_ids[0])

    assert "'anna' is none" in app.error[0].value
    assert len(app.get("image")) == 0
    assert not [key for key in keys(app) if not key.startswith("go-")]


def test_protocol_stands_beside_the_item_and_its_version_goes_with_the_verdict(made):
    case_id = made.case_ids[0]
    app = run(view="case", case=case_id)
    shown = protocol_of(made.store, "liver")
    assert shown.protocol.pitfalls[0] in texts(app)
    folder = made.store.workspace.protocols_path
    folder.mkdir()
    (folder / "liver.toml").write_text(
        'version = 9\nstructures = ["liver"]\nsummary = "new"\nincludes = ["<b>all</b>"]\n'
    )

    press(app, f"accept-{case_id}-liver")

    with made.store.read() as connection:
        given = connection.execute("SELECT protocol FROM verdict_protocols").fetchall()
    assert given == [(shown.version,)]
    app = run(view="case", case=case_id, structure="liver")
    assert "&lt;b&gt;all&lt;/b&gt;" in texts(app)


def test_protocol_stands_beside_an_independent_reading(made):
    assign(made, "liver")

    app = run(view="readings")
    press(app, f"absent-reading-{made.case_ids[0]}-liver")

    with made.store.read() as connection:
        given = connection.execute("SELECT protocol FROM verdict_protocols").fetchall()
    assert given == [(protocol_of(made.store, "liver").version,)]
