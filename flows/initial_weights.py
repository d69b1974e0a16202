"""Where the first weights of a training come from: a model, the champion, a run or a file."""

from __future__ import annotations

from pathlib import Path

from configs.connectors import load_datasets
from configs.errors import UsageError
from model.checkpoint import load_checkpoint
from model.initial_weights import InitReport, initialise_in_place
from model.model_card import InheritedLicence, inherited_licences
from model.universal import UniversalNetwork
from storage.canonical_json import JsonObject
from storage.model_registry import configured_committee, registered_models
from storage.store import Store
from storage.training_runs import training_run

CHAMPION = "champion"


def initialise(store: Store, network: UniversalNetwork, source: str, *, family: str) -> InitReport:
    """Give a new network first weights, by name and shape; what did not match is in the report.

    Args:
        store: The workspace.
        network: What gets them.
        source: A registered model's name, ``champion`` for the weights in force of the committee
            member of the same family, the id of a training for its newest state, or a file.
        family: Of what is trained.

    Raises:
        UsageError: The source names nothing.
        ModelError: The file cannot be read, or no weight of it fits.
    """
    return initialise_in_place(network, _path(store, source, family))


def inherited_terms(store: Store, source: str, *, family: str) -> tuple[InheritedLicence, ...]:
    """Return the licences that bind a model because of what its first weights are.

    Takes and raises what ``initialise`` does.
    """
    models = registered_models(store)
    if source in models:
        return inherited_licences(models[source].card)
    if source == CHAMPION:
        return inherited_licences(load_checkpoint(_champion(store, family)).facts)
    folder = store.workspace.runs_path / "train" / source
    if not Path(source).is_file() and folder.is_dir():
        return _terms_of_run(store, training_run(store.workspace, source).description)
    return (InheritedLicence("a file of first weights", "unknown", "its terms are not known"),)


def _terms_of_run(store: Store, description: JsonObject) -> tuple[InheritedLicence, ...]:
    known = load_datasets()
    data = tuple(
        InheritedLicence(name, known[name].license.flag, known[name].license.name)
        for name in description["datasets"]
        if name in known
    )
    if description["init"] is None:
        return data
    before = inherited_terms(store, description["init"], family=description["family"])
    return (*data, *before)


def _path(store: Store, source: str, family: str) -> Path:
    models = registered_models(store)
    if source in models:
        return store.objects.path(models[source].weights)
    if source == CHAMPION:
        return _champion(store, family)
    if Path(source).is_file():
        return Path(source)
    if (store.workspace.runs_path / "train" / source).is_dir():
        states = training_run(store.workspace, source).checkpoints()
        if states:
            return states[0]
    raise UsageError(
        f"first weights come from a model, '{CHAMPION}', a training or a file, got {source!r}; "
        f"models are {', '.join(models) or 'none'}"
    )


def _champion(store: Store, family: str) -> Path:
    members = configured_committee(store).members
    for member in members:
        if member.family == family:
            return member.path
    raise UsageError(
        f"no member of the committee is of family {family}; name one of the models "
        f"{', '.join(member.name for member in members)} instead"
    )
