import pytest

from review_app import session
from tests.review_app.app_script import run


@pytest.fixture
def made(make_annotated, monkeypatch):
    workspace = make_annotated(cases=2)
    monkeypatch.setenv("ATLASLOOP_WORKSPACE", str(workspace.store.workspace.root))
    monkeypatch.setenv("ATLASLOOP_REVIEW__READER", "anna")
    session.desk.cache_clear()
    yield workspace
    session.desk.cache_clear()


def run_dashboard():
    app = run(view="dashboard")
    assert not app.error
    return app


def metrics(app):
    return {metric.label: metric.value for metric in app.metric}


def test_few_data_are_called_few(made, make_readings):
    make_readings(made).review(made.case_ids[0], "liver", "accept")

    app = run_dashboard()

    assert metrics(app) == {
        "Judged": "1 of 6",
        "Minutes an item, median": "too few to say",
        "Verdicts an active hour": "too few to say",
        "Hours left": "too few to say",
    }
    assert "1 verdicts have a time, 10 are needed" in app.get("html")[2].value


def test_figures_follow_from_the_recorded_times(made, make_readings):
    readings = make_readings(made)
    for _ in range(5):
        for structure in ("liver", "stomach"):
            readings.review(made.case_ids[0], structure, "accept")

    shown = metrics(run_dashboard())

    # Ten verdicts of five seconds each; four items are left.
    assert shown["Judged"] == "2 of 6"
    assert shown["Minutes an item, median"] == "0.1"
    assert shown["Verdicts an active hour"] == "720"
    assert shown["Hours left"] == "0.0"


def test_agreement_is_worked_out_when_it_is_asked_for(made, make_readings):
    readings = make_readings(made)
    for reader in ("anna", "bert"):
        readings.read(made.case_ids[0], "liver", "absent", reader=reader)

    app = run_dashboard()
    before = len(app.dataframe)
    app.button(key="compare-readers").click().run()

    assert not app.exception
    assert len(app.dataframe) == before + 1
    assert "too few to say (0)" in app.dataframe[-1].value.to_string()
