"""The filters of the queue page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import streamlit as st

from configs.taxonomy import load_taxonomy
from review_app.item_words import STATUS_WORDS
from review_app.queue_lines import KIND_WORDS, filtered_structures, rank_words
from storage.review_queue import STATUSES, QueueFilter, Status

_WAITING: tuple[Status, ...] = ("open", "mine", "deferred")
_DATASETS = "known-datasets"
_POLICY = "known-policy"


def show_filters() -> QueueFilter:
    """Draw the filters, and return what they say."""
    first = st.columns([2.4, 1.6, 1.5, 1.3], vertical_alignment="bottom")
    second = st.columns([2.4, 1.6, 2.8], vertical_alignment="bottom")
    taxonomy = load_taxonomy()
    with first[0]:
        structures = st.multiselect(
            "Structures",
            taxonomy.names,
            format_func=lambda name: taxonomy[name].display,
            placeholder="All",
            key="filter-structures",
            on_change=first_page,
        )
    with first[1]:
        groups = st.multiselect(
            "Groups",
            ["organ", "tumor", "cyst"],
            placeholder="All",
            key="filter-groups",
            on_change=first_page,
        )
    with first[2]:
        kind = st.selectbox(
            "Kind",
            [None, *KIND_WORDS],
            format_func=lambda name: "Both" if name is None else KIND_WORDS[name],
            key="filter-kind",
            on_change=first_page,
        )
    with first[3]:
        least_risk = st.number_input(
            f"{rank_words(st.session_state.get(_POLICY, 'expected_gain'))[0]} from",
            min_value=0.0,
            max_value=1.0,
            value=None,
            step=0.05,
            placeholder="Any",
            key="filter-risk",
            on_change=first_page,
        )
    with second[0]:
        reason = st.text_input(
            "Reason contains", key="filter-reason", placeholder="Any", on_change=first_page
        )
    with second[1]:
        dataset = _dataset()
    with second[2]:
        statuses = st.pills(
            "State",
            STATUSES,
            selection_mode="multi",
            default=_WAITING,
            format_func=lambda name: STATUS_WORDS[name],
            key="filter-status",
            on_change=first_page,
        )
    return QueueFilter(
        structures=filtered_structures(taxonomy, structures, groups),
        statuses=tuple(cast("Sequence[Status]", statuses)),
        kind=kind,
        reason=reason,
        least_risk=least_risk,
        dataset=dataset,
    )


def know_datasets(names: Sequence[str]) -> None:
    """Tell the filters which datasets there are; they are read with the page, after it is drawn."""
    if tuple(names) != st.session_state.get(_DATASETS, ()):
        st.session_state[_DATASETS] = tuple(names)
        if names:
            st.rerun()


def know_ranking(policy: str) -> None:
    """Tell the filters what the queue was ranked by; they name its number so from the next run."""
    st.session_state[_POLICY] = policy


def first_page() -> None:
    """Turn back to the first page, since another filter has another one."""
    st.session_state["page-number"] = 1


def _dataset() -> str | None:
    names = st.session_state.get(_DATASETS, ())
    return st.selectbox(
        "Dataset",
        [None, *names],
        format_func=lambda name: "All" if name is None else name,
        key="filter-dataset",
        disabled=not names,
        placeholder="All",
        on_change=first_page,
    )
