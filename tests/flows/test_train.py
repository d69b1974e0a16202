import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from configs.errors import ModelError, UsageError
from configs.phantom import load_phantom_sites
from flows.encode import EncodeRequest, encode
from flows.phantom import make_cohort
from flows.train import train
from flows.training_plan import TrainOverrides
from model.checkpoint import load_checkpoint
from storage.model_registry import registered_models
from storage.store import Store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """One case of each training site: together they annotate every structure."""
    out = tmp_path_factory.mktemp("cohort") / "c"
    make_cohort(out, cases=4, seed=3, sites=["aspen", "birch", "cedar", "dogwood"], workers=1)
    return out


@pytest.mark.slow
def test_trained_member_is_registered_and_joins(empty_store, cohort):
    summary = train(
        empty_store, cohort, name="first", overrides=TrainOverrides(steps=2, seed=5), join=True
    )

    store = Store.open(empty_store.workspace.root)
    assert registered_models(store)["first"].weights == summary.model.weights
    assert [member.weights for member in store.settings.committee] == ["first"]
    card = json.loads((store.workspace.models_path / "first.json").read_text())
    assert (card["steps"], card["seed"]) == (2, 5)
    sharing = [site.name for site in load_phantom_sites().training if "prostate" in site.annotates]
    assert card["sites_by_structure"]["prostate"] == sorted(sharing)
    with pytest.raises(UsageError, match="in the committee already"):
        train(store, cohort, name="first", overrides=TrainOverrides(steps=2), join=True)


@pytest.mark.slow
def test_a_stored_encoding_goes_into_the_weights(empty_store, cohort):
    stored = encode(empty_store, EncodeRequest(source="anatomy"), name="body")

    summary = train(
        empty_store, cohort, name="m", overrides=TrainOverrides(steps=1, encoding="body")
    )

    network = load_checkpoint(empty_store.objects.path(summary.model.weights)).network
    assert network.encoding.provenance.sha256 == stored.card["sha256"]
    assert summary.model.card["encoding"] == "body"
    with pytest.raises(UsageError, match="no encoding 'clip' is stored"):
        train(empty_store, cohort, name="m", overrides=TrainOverrides(encoding="clip"))


def test_ctrl_c_ends_training_without_a_traceback(empty_store, cohort, tmp_path):
    command = ["-m", "flows.cli", "train", cohort, "--name", "x", "--steps", "1000000"]
    with subprocess.Popen(
        [sys.executable, *command, "-w", empty_store.workspace.root],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        assert any(line.startswith("train x: ") for line in child.stderr)
        os.killpg(child.pid, signal.SIGINT)
        lines = [line for line in child.stderr if not line.startswith("train x: ")]

    assert child.returncode == 130
    said = "".join(lines)
    assert said.startswith("error: stopped after step ")
    assert "Traceback" not in said
    assert registered_models(empty_store) == {}


@pytest.mark.slow
def test_unseen_site_is_never_trained_on(empty_store, tmp_path):
    make_cohort(tmp_path / "elm", cases=1, seed=1, sites=["elm"], workers=1)

    with pytest.raises(ModelError, match="never trained on"):
        train(empty_store, tmp_path / "elm", name="x", overrides=TrainOverrides(steps=1))


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("Bad Name", TrainOverrides(), "lower-case"),
        ("x", TrainOverrides(preset="huge"), "unknown preset 'huge'"),
        ("x", TrainOverrides(), "cohort"),
    ],
)
def test_wrong_use_is_told_before_the_minutes_of_training(
    empty_store, tmp_path, name, overrides, message
):
    with pytest.raises(UsageError, match=message):
        train(empty_store, tmp_path / "nothing", name=name, overrides=overrides)
