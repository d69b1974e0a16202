"""A workspace with a tiny committee of random weights, and small CTs that are never twice alike."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from configs.taxonomy import load_taxonomy
from flows.annotate import annotate
from flows.chosen_encoding import ChosenEncoding
from flows.init import init
from flows.training_plan import TrainingPlan
from model.checkpoint import save_checkpoint
from model.inference_settings import InferenceSettings
from model.training_settings import TrainingSettings
from model.universal import build_network
from storage.cases import all_cases
from storage.claims import claim_items
from storage.cohort import CaseRecord, begin_cohort, finish_cohort, write_case
from storage.labels import ABSENT, base_of
from storage.model_registry import register_model
from storage.splits import freeze_roles
from storage.store import Store
from storage.verdicts import Verdict, give_verdict

STRUCTURES = ("spleen", "kidney_right", "liver", "liver_tumor")


@pytest.fixture(autouse=True)
def _one_thread():
    """Two test processes on two cores are enough; threads would only fight."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def write_ct() -> Callable[..., Path]:
    """A writer of CTs: an elliptic body with a ring of fat in air, noisy, 24 x 22 x 20 at 6 mm."""

    def write(path: Path, *, seed: int, affine=None) -> Path:
        shape = (24, 22, 20)
        rng = np.random.default_rng(seed)
        axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
        radius = axes[0] ** 2 + axes[1] ** 2
        hu = np.where(radius < 0.8, rng.normal(40, 60, shape), -1000)
        hu[(radius < 0.8) & (radius > 0.6)] = -110
        affine = np.diag([6.0, 6.0, 6.0, 1.0]) if affine is None else affine
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(hu.astype(np.int16), affine), path)
        return path

    return write


@pytest.fixture
def tiny_cohort(tmp_path: Path) -> Path:
    """Two sites with a CT of 16 x 16 x 16 each, which share every structure; few are there."""
    out = tmp_path / "cohort"
    begin_cohort(out, seed=0, sites_digest="tiny")
    names = load_taxonomy().names
    places = [("aspen", "a-1"), ("birch", "b-1")]
    for number, (site, case) in enumerate(places):
        hu = np.random.default_rng(number).normal(0, 50, (16, 16, 16)).astype(np.int16)
        masks = {}
        for place, name in enumerate(("spleen", "liver", "liver_tumor")):
            masks[name] = np.zeros(hu.shape, np.bool_)
            masks[name][4 * place : 4 * place + 5, 3:12, 2 + number : 11] = True
        record = CaseRecord(
            site=site,
            role="train",
            case=case,
            patient=f"p-{case}",
            seed=number,
            annotated=names,
            facts={},
            lesions=(),
        )
        write_case(out, record, hu=hu, spacing_mm=(6.0, 6.0, 6.0), masks=masks)
    finish_cohort(out, seed=0, cases=places)
    return out


@pytest.fixture
def tiny_plan(tiny_cohort: Path) -> TrainingPlan:
    """A training of a few hundredths of a second a step."""
    settings = TrainingSettings(
        backbone_options={"widths": (4, 8), "fold": 2, "out_channels": 4},
        head="query_dot",
        encoding="one_hot",
        inference=InferenceSettings(spacing_mm=(6.0, 6.0, 6.0), patch=(16, 16, 16)),
        batch_size=1,
        steps=8,
        average_decay=0.9,
        autocast=None,
    )
    return TrainingPlan(
        name="tiny",
        family="tiny",
        preset="none",
        data=(tiny_cohort,),
        own_labels=False,
        settings=settings,
        encoding=ChosenEncoding("one_hot"),
    )


@pytest.fixture
def training_store(tmp_path: Path) -> Store:
    return new_training_store(tmp_path / "training")


@pytest.fixture
def make_training_store() -> Callable[[Path], Store]:
    return new_training_store


def new_training_store(root: Path) -> Store:
    """A workspace that keeps a state of every step."""
    store = init(root)
    with store.workspace.settings_path.open("a") as file:
        file.write('[annotate]\ndevice = "cpu"\n[train]\ncheckpoint_every_s = 0\n')
    return Store.open(root)


@pytest.fixture
def empty_store(tmp_path: Path) -> Store:
    return init(tmp_path / "a workspace")


@pytest.fixture(scope="session")
def committee_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace that ``store`` copies; it holds no path of its own."""
    store = init(tmp_path_factory.mktemp("committee") / "a workspace")
    return with_committee(store, members=2).workspace.root


@pytest.fixture
def store(committee_template: Path, tmp_path: Path) -> Store:
    """A workspace with a committee of two."""
    return Store.open(shutil.copytree(committee_template, tmp_path / "a workspace"))


@pytest.fixture
def make_checkpoint() -> Callable[..., bytes]:
    return tiny_checkpoint


@pytest.fixture
def judge_livers() -> Callable[[Store], None]:
    """Makes a workspace of two cases ready for retraining: one trains, one decides, no livers."""

    def judge(store: Store) -> None:
        annotate(store)
        with store.read() as connection:
            cases = {case.case_id: case.patient_id for case in all_cases(connection)}
        freeze_roles(store, dict(zip(cases.values(), ("train", "gate"), strict=True)))
        for case_id in cases:
            _judge_absent(store, case_id, "liver")

    return judge


@dataclass(frozen=True, slots=True)
class ChangedCt:
    """A workspace of two cases without a liver, both to train on; one's file is another CT now."""

    store: Store
    changed: str
    sound: str


@pytest.fixture
def changed_ct(make_annotated, make_readings, tmp_path: Path) -> ChangedCt:
    made = make_annotated(cases=2, own_cts=True)
    readings = make_readings(made)
    for case_id in made.case_ids:
        readings.import_label(case_id, "liver", ABSENT)
    with made.store.read() as connection:
        patients = [case.patient_id for case in all_cases(connection)]
    freeze_roles(made.store, dict.fromkeys(patients, "train"))
    path = tmp_path / "cts" / "scan 0.nii.gz"
    image = nibabel.load(path)
    changed = np.asarray(image.dataobj) + np.int16(1)
    nibabel.save(nibabel.Nifti1Image(changed, image.affine), path)
    return ChangedCt(made.store, *made.case_ids)


def _judge_absent(store: Store, case_id: str, structure: str) -> None:
    now = datetime(2026, 1, 5, 12, 0)
    claim_items(store, case_id, [structure], reader="anna", now=now, lease=timedelta(minutes=5))
    with store.read() as connection:
        base = base_of(connection, case_id, structure)
    assert base is not None
    verdict = Verdict(
        case_id=case_id,
        structure=structure,
        verdict="absent",
        reader="anna",
        base_version=base[0],
        request_id=case_id,
        opened_at=now,
        active_s=1.0,
    )
    give_verdict(store, verdict, now=now)


def with_committee(store: Store, *, members: int) -> Store:
    with store.workspace.settings_path.open("a") as file:
        file.write('[annotate]\ndevice = "cpu"\nautocast = "off"\n')
        for number in range(members):
            register_model(store, f"w{number}", tiny_checkpoint(seed=number), {})
            file.write(
                f'[[committee]]\nname = "m{number}"\nfamily = "f{number}"\nweights = "w{number}"\n'
            )
    return Store.open(store.workspace.root)


def tiny_checkpoint(*, seed: int) -> bytes:
    torch.manual_seed(seed)
    network = build_network(
        "small_unet",
        {"widths": (16, 16), "out_channels": 16},
        encoding="learned",
        structures=STRUCTURES,
    )
    settings = InferenceSettings(spacing_mm=(6.0, 6.0, 6.0), patch=(16, 16, 16))
    return save_checkpoint(network, settings, {})
