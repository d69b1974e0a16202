"""Make a cohort of phantoms: partially labeled sites, with the whole truth hidden beside."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import as_completed
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from configs.errors import UsageError
from configs.phantom import PhantomSite, load_phantom_sites
from flows.process_pool import started
from model.phantom.generate import GENERATOR_VERSION, Phantom, generate_phantom
from model.phantom.protocol import FieldOfView, Phase, Protocol
from storage.cohort import (
    CaseRecord,
    CohortLesion,
    begin_cohort,
    digest,
    finish_cohort,
    is_finished,
    write_case,
)

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclass(frozen=True, slots=True)
class CohortSummary:
    """What ``make_cohort`` did.

    Attributes:
        out: Folder of the cohort.
        made: Cases made now.
        kept: Cases that an earlier run had finished.
        by_site: Number of cases of every site.
    """

    out: Path
    made: int
    kept: int
    by_site: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Job:
    out: Path
    site: PhantomSite
    case: str
    patient: str
    seed: int


def make_cohort(
    out: Path,
    *,
    cases: int,
    seed: int,
    sites: Sequence[str] | None = None,
    workers: int = 2,
    progress: Progress | None = None,
) -> CohortSummary:
    """Make a cohort of phantoms, or finish one that was begun with the same seed and sites.

    The cases go round the sites in turn, and each case's seed depends on (seed, index) alone, so a
    longer cohort begins with the cases of a shorter one.

    Args:
        out: Folder to make: new, empty, or of the same seed, sites and version.
        cases: How many CTs.
        seed: Seed of the cohort.
        sites: Names of sites to use; all when None.
        workers: Processes; 1 works in this process.
        progress: Called after every case.

    Raises:
        UsageError: ``out`` holds something else, or a value is out of range.
    """
    if cases < 1 or workers < 1 or seed < 0:
        raise UsageError(
            f"cases and workers must be at least 1 and seed at least 0; got {cases}, {workers}, "
            f"{seed}"
        )
    chosen = load_phantom_sites().select(sites)
    plan = [GENERATOR_VERSION, [site.model_dump(mode="json") for site in chosen]]
    begin_cohort(out, seed=seed, sites_digest=digest(plan))
    jobs = [_job(out, chosen, seed=seed, index=index) for index in range(cases)]
    open_jobs = [job for job in jobs if not is_finished(out, job.site.name, job.case)]
    kept = len(jobs) - len(open_jobs)
    with closing(_run(open_jobs, workers)) as steps:
        for done in steps:
            if progress is not None:
                progress(kept + done, cases)
    finish_cohort(out, seed=seed, cases=[(job.site.name, job.case) for job in jobs])
    by_site = {site.name: sum(job.site == site for job in jobs) for site in chosen}
    return CohortSummary(out, len(open_jobs), kept, by_site)


def case_seed(seed: int, index: int) -> int:
    """Return the seed of a case; neighbours are independent."""
    sequence = np.random.SeedSequence(seed, spawn_key=(index,))
    return int(sequence.generate_state(1)[0])


def site_protocol(site: PhantomSite) -> Protocol:
    """Return a site's settings as the generator's protocol."""
    settings = site.protocol
    return Protocol(
        spacing_mm=settings.spacing_mm,
        slice_thickness_mm=settings.slice_thickness_mm,
        phases={Phase(name): weight for name, weight in settings.phases.items()},
        fields={FieldOfView(name): weight for name, weight in settings.fields.items()},
        noise_sd_hu=settings.noise_sd_hu,
        blur_mm=settings.blur_mm,
        hu_offset=settings.hu_offset,
    )


def _job(out: Path, sites: Sequence[PhantomSite], *, seed: int, index: int) -> _Job:
    site = sites[index % len(sites)]
    return _Job(
        out=out,
        site=site,
        case=f"{site.name}_{index:04d}",
        patient=f"phantom_{index:04d}",
        seed=case_seed(seed, index),
    )


def _run(jobs: Sequence[_Job], workers: int) -> Generator[int]:
    """Work through the jobs and yield how many are done after each."""
    if workers == 1 or len(jobs) < 2:
        for done, job in enumerate(jobs, start=1):
            _make_case(job)
            yield done
        return
    with one_thread_each(), started(_make_case, jobs, workers=workers) as futures:
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            yield done


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Let children that start in this block use one thread; numpy reads it when it is imported."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _make_case(job: _Job) -> None:
    phantom = generate_phantom(job.seed, protocol=site_protocol(job.site))
    write_case(
        job.out,
        _record(job, phantom),
        hu=phantom.hu,
        spacing_mm=phantom.spacing_mm,
        masks=phantom.masks,
    )


def _record(job: _Job, phantom: Phantom) -> CaseRecord:
    return CaseRecord(
        site=job.site.name,
        role=job.site.role,
        case=job.case,
        patient=job.patient,
        seed=job.seed,
        annotated=job.site.annotates,
        facts=asdict(phantom.facts),
        lesions=tuple(CohortLesion(**asdict(lesion)) for lesion in phantom.lesions),
    )
