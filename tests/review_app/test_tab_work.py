"""Drawing in the editor counts as active time, though no page script runs meanwhile."""

from datetime import datetime, timedelta

from review_app import session
from review_app.session import Seat
from review_app.tab_work import TAB_WORK, TabWork

START = datetime(2026, 1, 5, 12, 0)
ITEM = ("c-1", "liver")


def after(seconds):
    return START + timedelta(seconds=seconds)


def test_strokes_between_two_actions_count_and_pauses_up_to_the_cut_off(monkeypatch):
    monkeypatch.setattr(session, "utc_now", lambda: START)
    seat = Seat()
    seat.display(ITEM, "v-1", idle_s=60)
    for seconds in (40, 90, 300, 330):
        TAB_WORK.note(seat.tab, after(seconds))

    seat.touch(after(350), idle_s=60)

    # 40 + 50 + 60 of 210 + 30 + 20; without the strokes it would have been 60.
    assert seat.displays[ITEM].clock.active_s == 200


def test_strokes_of_another_tab_or_another_time_do_not_count(monkeypatch):
    monkeypatch.setattr(session, "utc_now", lambda: START)
    seat = Seat()
    TAB_WORK.note(seat.tab, after(-5))
    seat.display(ITEM, "v-1", idle_s=60)
    TAB_WORK.note("another tab", after(50))

    seat.touch(after(100), idle_s=60)

    assert seat.displays[ITEM].clock.active_s == 60


def test_old_tabs_are_forgotten():
    work = TabWork()
    for number in range(300):
        work.note(f"tab {number}", START)

    assert work.between("tab 0", after(-1), START) == []
    assert work.between("tab 299", after(-1), START) == [START]
