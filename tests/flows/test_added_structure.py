"""A structure that AtlasLoop does not ship: described, encoded, trained and annotated."""

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from configs.errors import ConfigError, UsageError
from configs.taxonomy import VARIABLE, load_taxonomy
from flows import cli
from flows.extend import extend
from flows.fine_tune import FineTuneJob, fine_tune
from flows.intake import intake
from flows.training_cases import TrainingSources, annotated_structures
from model.anatomy_encoding import anatomy_vectors
from model.checkpoint import load_checkpoint, save_checkpoint
from model.inference_settings import InferenceSettings
from model.universal import build_network
from storage.cohort import CaseRecord, begin_cohort, finish_cohort, write_case
from storage.encoding_registry import stored_encodings
from storage.model_registry import register_model, registered_models
from storage.store import Store

OLD = ("spleen", "liver", "bladder")
UTERUS = """\
version = 1

[[structures]]
name = "uterus"
display = "Uterus"
group = "organ"
exclusive = ["bladder", "rectum"]
rgb = [200, 100, 150]
volume_ml = [20, 400]
surface_mm = 3
"""


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")


@pytest.fixture
def run(monkeypatch, empty_store):
    monkeypatch.setenv("ATLASLOOP_WORKSPACE", str(empty_store.workspace.root))
    return lambda *arguments: CliRunner().invoke(cli.app, [str(one) for one in arguments])


def old_model(store, name, seed):
    torch.manual_seed(seed)
    network = build_network(
        "small_unet",
        {"widths": (16, 16), "out_channels": 16},
        encoding="text",
        structures=OLD,
        text=anatomy_vectors(load_taxonomy(), OLD),
        head="query_dot",
    )
    inference = InferenceSettings(spacing_mm=(6.0, 6.0, 6.0), patch=(16, 16, 16))
    return register_model(store, name, save_checkpoint(network, inference, {}), {})


def name_committee(store, *weights):
    path = store.workspace.settings_path
    head = path.read_text().partition("\n[annotate]")[0]
    members = [
        f'[[committee]]\nname = "{one}"\nfamily = "{one}"\nweights = "{one}"\n' for one in weights
    ]
    path.write_text(head + '\n[annotate]\ndevice = "cpu"\nautocast = "off"\n' + "".join(members))


@pytest.fixture
def make_cohort(tmp_path):
    def make(annotated=("liver", "uterus")):
        out = tmp_path / "cohort"
        begin_cohort(out, seed=1, sites_digest="d")
        record = CaseRecord(
            site="here", role="train", case="c1", patient="p1", seed=1, annotated=annotated,
            facts={}, lesions=(),
        )  # fmt: skip
        masks = {name: np.zeros((20, 20, 20), bool) for name in annotated}
        for number, mask in enumerate(masks.values()):
            mask[3 + 7 * number : 8 + 7 * number, 5:15, 5:15] = True
        hu = np.random.default_rng(0).normal(40, 60, (20, 20, 20)).astype(np.int16)
        write_case(out, record, hu=hu, spacing_mm=(6.0, 6.0, 6.0), masks=masks)
        return finish_cohort(out, seed=1, cases=[("here", "c1")])

    return make


def predicted(store):
    with store.read() as connection:
        rows = connection.execute(
            "SELECT s.* FROM scores s ORDER BY s.prediction_id, s.member, s.structure"
        ).fetchall()
        names = connection.execute("SELECT DISTINCT structure FROM scores").fetchall()
    return rows, {name for (name,) in names}


def trained(store, model, cohort):
    job = FineTuneJob(
        workspace=store.workspace.root,
        checkpoint=store.objects.path(model.weights),
        labels=(),
        cohorts=(cohort.root,),
        steps=3,
        learning_rate=1e-2,
        correction_share=0.5,
        seed=0,
        device="cpu",
        bfloat16=False,
    )
    return fine_tune(job)


def test_a_new_structure_is_encoded_trained_and_annotated_and_disturbs_nothing(
    run, empty_store, write_ct, tmp_path, make_cohort
):
    old = [old_model(empty_store, f"old{seed}", seed) for seed in (0, 1)]
    name_committee(empty_store, "old0", "old1")
    intake(empty_store, [write_ct(tmp_path / "cts" / "a.nii.gz", seed=1)])
    assert run("annotate").exit_code == 0
    rows_before, _ = predicted(empty_store)
    assert run("encode", "--source", "anatomy", "--name", "before").exit_code == 0

    (empty_store.workspace.root / "taxonomy.toml").write_text(UTERUS)
    assert run("encode", "--source", "anatomy", "--name", "body").exit_code == 0
    for seed in (0, 1):
        made = run("extend", f"old{seed}", "--name", f"new{seed}", "--structure", "uterus")
        assert made.exit_code == 0, made.output
    store = Store.open(empty_store.workspace.root)
    cohort = make_cohort()
    for seed in (0, 1):
        fitted = trained(store, registered_models(store)[f"new{seed}"], cohort)
        register_model(store, f"new{seed}", fitted.checkpoint, fitted.card)
    name_committee(store, "new0", "new1")
    annotated = run("annotate")
    assert annotated.exit_code == 0, annotated.output

    cards = {name: one.card for name, one in stored_encodings(store).items()}
    assert cards["body"]["structures"] == [*cards["before"]["structures"], "uterus"]
    for seed, model in enumerate(old):
        first = load_checkpoint(store.objects.path(model.weights)).network
        newest = registered_models(store)[f"new{seed}"]
        last = load_checkpoint(store.objects.path(newest.weights)).network
        assert (first.structures, last.structures) == (OLD, (*OLD, "uterus"))
        assert torch.equal(last.encoding.vectors[:3], first.encoding.vectors)
        assert not torch.equal(last.head.generator.weight, first.head.generator.weight)
        assert newest.card["added_structures"] == ["uterus"]
    rows_after, names = predicted(store)
    assert set(rows_before) < set(rows_after)
    assert names == {*OLD, "uterus"}
    assert run("queue").exit_code == 0
    assert run("rebuild").exit_code == 0
    assert run("verify").exit_code == 0


def test_a_process_without_the_structures_does_not_open_the_workspace(empty_store, run):
    (empty_store.workspace.root / "taxonomy.toml").write_text(UTERUS)

    with pytest.raises(ConfigError, match="adds structures that this process does not know"):
        Store.open(empty_store.workspace.root)
    assert run("status").exit_code == 0
    Store.open(empty_store.workspace.root)


def test_broken_additions_end_every_command_with_2(empty_store, run):
    text = UTERUS.replace('"bladder"', '"blader"')
    (empty_store.workspace.root / "taxonomy.toml").write_text(text)

    result = run("status")

    assert result.exit_code == 2
    assert "refers to unknown ['blader']" in " ".join(result.stderr.split())


def test_a_new_network_learns_added_structures_where_they_are_annotated(
    empty_store, run, make_cohort
):
    (empty_store.workspace.root / "taxonomy.toml").write_text(UTERUS)
    assert run("status").exit_code == 0

    learned = annotated_structures(TrainingSources(cohort_cases=make_cohort().cases))
    assert learned[-1] == "uterus"
    assert learned == load_taxonomy().select(learned)


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        ("nothing", {"name": "b"}, "known are old"),
        ("old", {"name": "old"}, "a name of its own"),
        ("old", {"name": "b", "structures": ["liver"]}, "knows all of liver already"),
        ("old", {"name": "b", "structures": ["uterus"]}, "unknown structure 'uterus'"),
        ("old", {"name": "b", "encoding": "clip"}, "no encoding 'clip' is stored"),
    ],
)
def test_what_cannot_be_extended_is_refused(empty_store, model, arguments, message):
    old_model(empty_store, "old", 0)

    with pytest.raises(UsageError, match=message):
        extend(empty_store, model, **arguments)

    assert list(registered_models(empty_store)) == ["old"]
