import hashlib
import json

import pytest
import torch
from typer.testing import CliRunner

from configs.errors import ModelError, UsageError
from configs.taxonomy import VARIABLE, load_taxonomy, shipped_taxonomy
from flows import cli
from flows.annotate import annotation_run
from flows.intake import intake
from flows.weights import LICENCE_NOTICE, ImportOptions, import_weights
from model.checkpoint import load_checkpoint
from model.encoding import Provenance, TextVectors
from model.published_weights import PUBLISHED_INFERENCE
from model.structure_vectors import StructureVectors, save_vectors
from storage.encoding_registry import store_encoding
from storage.model_registry import register_model, registered_models
from storage.store import Store

ACCEPTED = ImportOptions(accept_license=True)


@pytest.fixture
def file(published_state, tmp_path):
    state = {f"module.{name}": w for name, w in published_state("unet", 2).items()}
    path = tmp_path / "unet.pth"
    torch.save({"net": state, "optimizer": {"lr": 1e-4}, "epoch": 50}, path)
    return path


@pytest.fixture
def run(monkeypatch, empty_store):
    monkeypatch.setenv("ATLASLOOP_WORKSPACE", str(empty_store.workspace.root))
    runner = CliRunner()
    return lambda *arguments: runner.invoke(
        cli.app, ["weights", *(str(argument) for argument in arguments)]
    )


def everything(store):
    return set(store.objects.digests()), store.journal.path.read_bytes()


@pytest.mark.parametrize("verb", ["import", "list", "show"])
def test_every_command_has_help_with_an_example(run, verb):
    result = run(verb, "--help")

    assert result.exit_code == 0
    assert f"Example: atlasloop weights {verb}" in result.output


def test_without_the_licence_accepted_the_notice_is_shown_and_nothing_imported(
    run, file, empty_store
):
    before = everything(empty_store)

    result = run("import", file, "--name", "published")

    assert result.exit_code == 2
    shown = " ".join(result.stderr.split())
    assert LICENCE_NOTICE in shown
    assert "CC BY-NC-ND 4.0" in shown
    assert everything(empty_store) == before


def test_an_import_is_reported_registered_and_shown(run, file, empty_store):
    result = run("import", file, "--name", "published", "--accept-license")

    assert result.exit_code == 0, result.output
    assert "unet {'width': 2}" in result.stdout
    assert "nested, inside net" in result.stdout
    assert "42 num_batches_tracked, running_mean, running_var" in result.stdout
    assert "epoch, optimizer" in result.stdout
    assert "nc-nd" in run("list").stdout
    shown = run("show", "published")
    assert hashlib.sha256(file.read_bytes()).hexdigest() in shown.stdout
    assert "| unet.pth | nc-nd | CC BY-NC-ND 4.0 |" in shown.stdout


def test_the_card_says_what_was_imported(file, empty_store):
    import_weights(empty_store, file, name="published", options=ACCEPTED)

    card = registered_models(empty_store)["published"].card
    assert card["backbone"] == "unet"
    assert card["encoding"] == "text"
    assert card["spacing_mm"] == [1.5, 1.5, 1.5]
    assert card["hu_window"] == [-175.0, 250.0]
    assert card["patch"] == [96, 96, 96]
    assert card["licences"] == {
        "flags": ["nc-nd"],
        "inherited": [{"from": "unet.pth", "flag": "nc-nd", "licence": "CC BY-NC-ND 4.0"}],
    }
    assert card["imported"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert card["imported"]["matched"] == 75
    assert set(card["single_source_if_published"]) < set(load_taxonomy().names)
    written = json.loads((empty_store.workspace.models_path / "published.json").read_text())
    assert written["licences"] == card["licences"]


def test_the_registered_checkpoint_is_ours_with_the_files_weights(file, empty_store):
    summary = import_weights(empty_store, file, name="published", options=ACCEPTED)

    loaded = load_checkpoint(empty_store.objects.path(summary.model.weights))

    assert loaded.network.structures == load_taxonomy().names
    assert loaded.inference == PUBLISHED_INFERENCE
    assert loaded.facts["licences"]["flags"] == ["nc-nd"]
    given = torch.load(file, weights_only=True)["net"]["module.controller.weight"]
    assert torch.equal(loaded.network.head.controller.weight, given.flatten(1))


def test_imported_weights_vote_in_the_committee(
    file, empty_store, make_checkpoint, write_ct, tmp_path
):
    register_model(empty_store, "own", make_checkpoint(seed=1), {})
    options = ImportOptions(accept_license=True, join=True)
    import_weights(empty_store, file, name="published", options=options)
    with empty_store.workspace.settings_path.open("a") as settings:
        settings.write('[[committee]]\nname = "own"\nfamily = "own"\nweights = "own"\n')
        settings.write('[annotate]\ndevice = "cpu"\nautocast = "off"\noverlap = 0.0\n')
    store = Store.open(empty_store.workspace.root)
    intake(store, [write_ct(tmp_path / "a.nii.gz", seed=1)])

    with annotation_run(store) as annotation:  # without the estimate, which runs the network too
        summary = annotation.annotate([case.case_id for case in annotation.cases])

    assert len(summary.closed) == 1
    with store.read() as connection:
        rows = connection.execute(
            "SELECT member, count(*), count(DISTINCT volume_ml) FROM scores GROUP BY member"
        ).fetchall()
    scores = {member: (structures, volumes) for member, structures, volumes in rows}
    assert scores["published"][0] == 32
    assert scores["published"][1] > 2


def test_text_encodings_are_read_from_the_file_that_is_named(
    run, published_state, empty_store, tmp_path
):
    state = published_state("unet", 2)
    torch.save(state.pop("organ_embedding").half(), tmp_path / "words.pth")
    torch.save(state, tmp_path / "unet.pth")
    command = ("import", tmp_path / "unet.pth", "--name", "published", "--accept-license")

    refused = run(*command)
    assert refused.exit_code == 2
    assert "--text-encoding" in refused.stderr
    assert registered_models(empty_store) == {}

    taken = run(*command, "--text-encoding", tmp_path / "words.pth", "--json")
    assert taken.exit_code == 0, taken.output
    assert json.loads(taken.stdout)["model"]["card"]["encoding_source"] == "words.pth"


def test_a_stored_encoding_is_taken_by_its_name(published_state, empty_store, tmp_path):
    state = published_state("unet", 2)
    rows = state.pop("organ_embedding")
    torch.save(state, tmp_path / "unet.pth")
    names = shipped_taxonomy().names
    # One row more and another order: rows are taken by the structures' names.
    text = TextVectors.checked(
        torch.cat((rows, rows[:1] + 1)).flip(0), Provenance(source="clip"), count=33
    )
    stored = StructureVectors((*names, "uterus")[::-1], text)
    store_encoding(empty_store, "clip", save_vectors(stored), {})

    options = ImportOptions(accept_license=True, text_encoding="clip")
    summary = import_weights(empty_store, tmp_path / "unet.pth", name="published", options=options)

    loaded = load_checkpoint(empty_store.objects.path(summary.model.weights))
    assert torch.equal(loaded.network.encoding.vectors, rows)
    assert loaded.network.encoding.provenance.source == "clip"
    other = ImportOptions(accept_license=True, text_encoding="clop")
    with pytest.raises(UsageError, match="known are clip"):
        import_weights(empty_store, tmp_path / "unet.pth", name="other", options=other)


def test_structures_that_a_workspace_adds_are_no_classes_of_the_file(
    file, empty_store, monkeypatch, tmp_path
):
    added = tmp_path / "taxonomy.toml"
    added.write_text(
        'version = 1\n[[structures]]\nname = "uterus"\ndisplay = "Uterus"\ngroup = "organ"\n'
        "rgb = [1, 2, 3]\nvolume_ml = [10, 200]\nsurface_mm = 2.0\n"
    )
    monkeypatch.setenv(VARIABLE, str(added))
    assert len(load_taxonomy().names) == 33

    summary = import_weights(empty_store, file, name="published", options=ACCEPTED)

    loaded = load_checkpoint(empty_store.objects.path(summary.model.weights))
    assert loaded.network.structures == shipped_taxonomy().names


def test_what_cannot_be_imported_leaves_nothing_behind(published_state, empty_store, tmp_path):
    before = everything(empty_store)
    path = tmp_path / "unet.pth"

    def refused(state, message):
        torch.save(state, path)
        with pytest.raises(ModelError, match=message):
            import_weights(empty_store, path, name="published", options=ACCEPTED)

    refused(published_state("unet", 2, classes=25), "32 classes")
    refused({"epoch": 3}, "holds named tensors")
    part = published_state("unet", 2)
    del part["controller.bias"]
    refused(part, "missing 1 ")
    torch.save(published_state("unet", 2), path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="not a whole one"):
        import_weights(empty_store, path, name="published", options=ACCEPTED)

    assert everything(empty_store) == before


def test_a_name_is_checked_before_the_file_is_read(file, empty_store, tmp_path):
    import_weights(empty_store, file, name="published", options=ACCEPTED)

    for name, message in (("published", "registered already"), ("../x", "lower-case letters")):
        with pytest.raises(UsageError, match=message):
            import_weights(empty_store, tmp_path / "none", name=name, options=ACCEPTED)


def test_an_unknown_model_is_answered_with_the_known_ones(run, empty_store, make_checkpoint):
    register_model(empty_store, "own", make_checkpoint(seed=1), {})

    result = run("show", "publisht")

    assert result.exit_code == 2
    assert "known are: own" in result.stderr
