"""How often the bound on what nobody looked at is true, over simulated releases.

Run: python -m benchmarks.bound_coverage [--releases N] [--out FILE]

Labels, orders, draws and the evaluation are the program's own, in an index of its own; what readers
find is simulated. Labels of a patient go wrong together. Between the draws the queue takes what
looks worst, and turns to the structure in which the audit found most; some items are left open,
some deferred. A bound is true when no more units are bad than it says.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np

from benchmarks.machine import describe
from configs.setting_sections import StorageSettings
from flows.bound import BoundRequest, BoundRow, Frame, KindBound, Method, bound_kinds
from flows.frame_states import LabelsRead
from storage.audit_answers import (
    FramedLabel,
    UnitKey,
    framed_labels,
    readings_of,
    reviews_of,
    touched_labels,
)
from storage.audit_draws import UnitSearch, next_units
from storage.database import connect
from storage.labels import LabelMask

STRUCTURES = ("liver", "pancreas", "spleen")
PREVALENCES = (0.01, 0.05, 0.2)
PATIENTS, TWICE = 120, 20
ROUNDS, QUEUE, AIDED, UNAIDED = 2, 30, 30, 15
OPEN, DEFERRED = 0.01, 0.01
NOW = datetime(2026, 1, 5, 12, 0)
COMMITTEE = "k-000000000001"
CONFIDENCE = 0.95
Key = tuple[str, str]
Connection = duckdb.DuckDBPyConnection


def main() -> None:
    """Simulate, print the tables, and write them where ``--out`` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--releases", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    began = time.perf_counter()
    lines = [
        "# Is the bound true?",
        "",
        f"{describe('duckdb', 'numpy', 'scipy')}. {arguments.releases} simulated releases a row, "
        f"{PATIENTS} patients ({TWICE} with two CTs), {len(STRUCTURES)} structures, "
        f"{CONFIDENCE:.0%} confidence, DSC 0.8. {ROUNDS} rounds of {QUEUE} labels that the queue "
        f"puts first and {AIDED} + {UNAIDED} units drawn with and without the AI's mask; the queue "
        f"follows what the audit finds; {OPEN:.0%} of the drawn ones stay open, {DEFERRED:.0%} are "
        "deferred. `true`: share of releases in which no more units are bad than the bound says; "
        "of single structures, over all of them; together, all structures of a release at once. "
        "The fixed bound is evaluated at the end, the time-uniform one after every round and has "
        "to be true each time.",
        "",
        "| bad labels | way | bound | true: all | single structure | together | read "
        "| bound, median | truly bad, median |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    with connect(Path(":memory:"), StorageSettings(threads=1)) as connection:
        world = _World(connection)
        for prevalence in PREVALENCES:
            tally: dict[tuple[str, Method], _Tally] = {}
            for number in range(arguments.releases):
                world.simulate(number, prevalence, tally)
            lines += [one.line(prevalence, way, method) for (way, method), one in tally.items()]
    print(f"{time.perf_counter() - began:.0f} s")
    report = "\n".join([*lines, ""])
    print(report)
    if arguments.out:
        arguments.out.write_text(report, encoding="utf-8")


@dataclass
class _Tally:
    """What came out over releases."""

    overall: list[bool] = field(default_factory=list)
    single: list[bool] = field(default_factory=list)
    together: list[bool] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    bound: list[float] = field(default_factory=list)
    truth: list[float] = field(default_factory=list)

    def line(self, prevalence: float, way: str, method: Method) -> str:
        shares = [np.mean(one) for one in (self.overall, self.single, self.together)]
        cells = [
            f"{prevalence:.0%}",
            way,
            method.replace("_", "-"),
            *(f"{share:.1%}" for share in shares),
            f"{np.median(self.read):.0f}",
            f"{np.median(self.bound):.1%}",
            f"{np.median(self.truth):.1%}",
        ]
        return f"| {' | '.join(cells)} |"


@dataclass
class _Release:
    """One simulated release while it grows.

    Attributes:
        bad: Case and structure of the bad labels.
        risk: What the queue knows of each label; higher is worse.
    """

    generator: np.random.Generator
    bad: set[Key]
    risk: dict[Key, float]
    judged: set[Key] = field(default_factory=set)


class _World:
    """An index with one committee's predictions; a release's verdicts are rolled back."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        owners = [*range(PATIENTS), *range(TWICE)]
        self._patients = {f"c-{number:012x}": f"p-{owner}" for number, owner in enumerate(owners)}
        self._seq = 0
        for case, patient in self._patients.items():
            connection.execute(
                "INSERT INTO predictions VALUES (?, ?, ?, 'r', 'm', 1, ?, ?)",
                [_prediction(case), case, COMMITTEE, self._next(), NOW],
            )
            connection.execute(
                "INSERT INTO patients VALUES (?, ?, 'csv', ?, ?)", [case, patient, self._seq, NOW]
            )
        connection.execute(
            """INSERT INTO scores BY NAME
               SELECT prediction_id, 'committee' AS member, unnest($names) AS structure
               FROM predictions""",
            {"names": list(STRUCTURES)},
        )

    def simulate(
        self, seed: int, prevalence: float, tally: dict[tuple[str, Method], _Tally]
    ) -> None:
        """Let one release grow and be bounded, and count whether that was true."""
        generator = np.random.default_rng([seed, 7])
        release = _release(generator, self._patients, prevalence)
        self._begin(int(generator.integers(2**62)))
        looks = []
        focus = ""
        for _ in range(ROUNDS):
            found = self._audit(release)
            self._review(release, _head(release, focus)[:QUEUE])
            focus = max(STRUCTURES, key=lambda name: sum(key[1] == name for key in found))
            frame = self._frame(release)
            looks.append((frame, self._bounds(frame, "time_uniform"), _truly_bad(frame, release)))
        self._connection.execute("ROLLBACK")
        frame, _, truth = looks[-1]
        for kind in self._bounds(frame, "fixed"):
            _count(tally, kind, "fixed", [(kind, truth)])
        for place, kind in enumerate(looks[-1][1]):
            seen = [(kinds[place], bad) for _, kinds, bad in looks if len(kinds) > place]
            _count(tally, kind, "time_uniform", seen)

    def _begin(self, seed: int) -> None:
        self._connection.execute("BEGIN")
        self._connection.execute(
            "INSERT INTO audit_seeds VALUES (?, ?, ?)", [seed, self._next(), NOW]
        )

    def _audit(self, release: _Release) -> list[Key]:
        """Draw both ways and let readers answer; returns what they found to be bad."""
        found = []
        for unaided, count in ((True, UNAIDED), (False, AIDED)):
            search = UnitSearch(
                committee_id=COMMITTEE, unaided=unaided, readers=("r",), structures=(), now=NOW
            )
            units = next_units(self._connection, search, count=count, blocked=())
            keys = [(case, unit.structure) for unit in units for case, _ in unit.labels]
            self._draw(keys, unaided=unaided)
            chance = release.generator.random(len(keys))
            kept = [key for key, one in zip(keys, chance, strict=True) if one >= OPEN]
            self._answer(release, kept, unaided=unaided)
            found += [key for key in kept if key in release.bad]
        return found

    def _review(self, release: _Release, keys: Sequence[Key]) -> None:
        self._answer(release, keys, unaided=False, deferred=0.0)

    def _draw(self, keys: Sequence[Key], *, unaided: bool) -> None:
        cases, names = _columns(keys)
        self._connection.execute(
            """INSERT INTO audit_draws
               SELECT 'd' || $seq, c, s, 'x-' || c, 'r', $unaided, 1, 1, $seq, $now
               FROM (SELECT unnest($cases) AS c, unnest($names) AS s)""",
            {"seq": self._next(), "unaided": unaided, "now": NOW, "cases": cases, "names": names},
        )

    def _answer(
        self, release: _Release, keys: Sequence[Key], *, unaided: bool, deferred: float = DEFERRED
    ) -> None:
        """Give verdicts; the object of a reader's label says what the reader found."""
        if not keys:
            return
        chance = release.generator.random(len(keys))
        given = {key for key, one in zip(keys, chance, strict=True) if one >= deferred}
        if not unaided:
            release.judged.update(given)
        cases, names = _columns(keys)
        facts = {
            "cases": cases,
            "names": names,
            "verdicts": ["correct" if key in given else "defer" for key in keys],
            "found": ["bad" if key in release.bad else "good" for key in keys],
            "reading": "independent" if unaided else "review",
            "reader": "r" if unaided else "q",
            "based": not unaided,
            "seq": self._seq,
            "now": NOW,
        }
        self._seq += len(keys)
        given_rows = """
            FROM (SELECT unnest($cases) AS c, unnest($names) AS s, unnest($verdicts) AS verdict,
                         unnest($found) AS found, generate_subscripts($cases, 1) + $seq AS seq)
        """
        self._connection.execute(
            f"""INSERT INTO verdicts BY NAME
                SELECT 'v' || seq AS verdict_id, c AS case_id, s AS structure, $reading AS reading,
                       verdict, $reader AS reader, [] AS tags,
                       CASE WHEN $based THEN 'x-' || c END AS base_version,
                       'v' || seq AS request_id, $now AS opened_at, 1 AS active_s,
                       0 AS voxels_changed, seq, $now AS recorded_at
                {given_rows}""",
            facts,
        )
        self._connection.execute(
            f"""INSERT INTO label_versions BY NAME
                SELECT 'l' || seq AS version_id, 'v' || seq AS verdict_id, c AS case_id,
                       s AS structure, 'reader:' || $reader AS source, $reading AS reading,
                       false AS linked, found AS object, [0, 1, 0, 1, 0, 1] AS box, 1 AS voxels,
                       CASE WHEN $based THEN 'x-' || c END AS parent, seq, $now AS recorded_at
                {given_rows} WHERE verdict <> 'defer'""",
            facts,
        )

    def _frame(self, release: _Release) -> Frame:
        predictions = [_prediction(case) for case in self._patients]
        labels = framed_labels(self._connection, predictions)
        units = {label.unit for label in labels if label.key not in release.judged}
        read = LabelsRead(
            reviews=reviews_of(self._connection, predictions),
            readings=readings_of(self._connection, predictions),
            touched=touched_labels(self._connection),
        )
        return Frame(labels=labels, read=read, unreviewed=frozenset(units), uncovered=frozenset())

    def _bounds(self, frame: Frame, method: Method) -> tuple[KindBound, ...]:
        request = BoundRequest(release="simulated", confidence=CONFIDENCE)
        return bound_kinds(frame, _dsc, request, method=method)

    def _next(self) -> int:
        self._seq += 1
        return self._seq


def _prediction(case: str) -> str:
    return f"x-{case}"


def _columns(keys: Sequence[Key]) -> tuple[list[str], list[str]]:
    return [case for case, _ in keys], [name for _, name in keys]


def _dsc(label: FramedLabel, mask: LabelMask) -> float:
    return 0.5 if mask.object == "bad" else 0.95


def _release(
    generator: np.random.Generator, patients: dict[str, str], prevalence: float
) -> _Release:
    """Return which labels are bad: a few patients have many, the pancreas has more than others."""
    owners = sorted(set(patients.values()))
    hard = dict(zip(owners, generator.random(len(owners)) < 0.1, strict=True))
    bad, risk = set(), {}
    for case, patient in patients.items():
        for name in STRUCTURES:
            chance = prevalence * (2 if name == "pancreas" else 0.5)
            chance = min(0.9, 5 * chance) if hard[patient] else chance * 0.6
            key = (case, name)
            if generator.random() < chance:
                bad.add(key)
            risk[key] = (key in bad) + generator.normal()
    return _Release(generator, bad, risk)


def _head(release: _Release, focus: str) -> list[Key]:
    """Return what the queue puts first."""
    waiting = [key for key in release.risk if key not in release.judged]
    return sorted(waiting, key=lambda key: -release.risk[key] - (key[1] == focus))


def _truly_bad(frame: Frame, release: _Release) -> set[UnitKey]:
    """Return the units of the remainder that hold a bad label that nobody judged."""
    return {
        label.unit
        for label in frame.labels
        if label.key in release.bad and label.key not in release.judged
    }


def _count(
    tally: dict[tuple[str, Method], _Tally],
    kind: KindBound,
    method: Method,
    looks: Sequence[tuple[KindBound, set[UnitKey]]],
) -> None:
    """Count whether one release's bounds were true, at every look."""
    one = tally.setdefault((kind.kind, method), _Tally())
    one.overall.append(all(_holds(said.overall, bad) for said, bad in looks))
    rows: dict[str, list[tuple[bool, bool]]] = {}
    for said, bad in looks:
        for row in said.structures:
            rows.setdefault(row.structure, []).append((_holds(row, bad), _holds_together(row, bad)))
    one.single += [all(alone for alone, _ in seen) for seen in rows.values()]
    one.together.append(all(jointly for seen in rows.values() for _, jointly in seen))
    last, truth = looks[-1]
    one.read.append(last.overall.read)
    one.bound.append(last.overall.share)
    one.truth.append(len(truth) / last.overall.unreviewed)


def _bad_of(row: BoundRow, bad: set[UnitKey]) -> int:
    return sum(row.structure in ("all", unit[2]) for unit in bad)


def _holds(row: BoundRow, bad: set[UnitKey]) -> bool:
    return _bad_of(row, bad) <= row.at_most


def _holds_together(row: BoundRow, bad: set[UnitKey]) -> bool:
    return _bad_of(row, bad) <= (row.share_together or 0.0) * row.unreviewed + 1e-9


if __name__ == "__main__":
    main()
