"""Give a registered model further structures, so that training can go on with them."""

from __future__ import annotations

from collections.abc import Sequence

from configs.errors import UsageError
from configs.taxonomy import load_taxonomy
from flows.encode import open_encoding
from model.anatomy_encoding import SOURCE, anatomy_vectors
from model.checkpoint import load_checkpoint, save_checkpoint
from model.extend_network import extend_network
from model.structure_vectors import StructureVectors
from model.universal import UniversalNetwork
from storage.model_registry import RegisteredModel, register_model, registered_models
from storage.store import Store


def extend(
    store: Store,
    model: str,
    *,
    name: str,
    structures: Sequence[str] = (),
    encoding: str | None = None,
) -> RegisteredModel:
    """Register a copy of a model that knows more structures; they are not trained yet.

    Args:
        store: The workspace.
        model: A registered model.
        name: Of the new model.
        structures: What to add; all of the taxonomy that the model lacks when empty.
        encoding: Stored encoding to take the new rows from; needed where the model's own come from
            a text encoder or a file.

    Raises:
        UsageError: A name is unknown, or there is nothing to add.
        ModelError: The encoding does not fit the model.
    """
    models = registered_models(store)
    if model not in models:
        raise UsageError(f"no model {model!r} is registered, known are {', '.join(models)}")
    if name == model:
        raise UsageError(f"the extended model needs a name of its own, got {name!r} for both")
    loaded = load_checkpoint(store.objects.path(models[model].weights))
    wanted = load_taxonomy().select(structures or load_taxonomy().names)
    added = [one for one in wanted if one not in loaded.network.structures]
    if not added:
        raise UsageError(
            f"{model} knows all of {', '.join(wanted[-3:])} already; describe a new structure in "
            "taxonomy.toml of the workspace, see docs/encodings.md"
        )
    vectors = _vectors(store, loaded.network, encoding)
    network = extend_network(loaded.network, added, vectors=vectors)
    card = {**loaded.facts, "extended_from": models[model].weights, "added_structures": added}
    checkpoint = save_checkpoint(network, loaded.inference, card)
    return register_model(store, name, checkpoint, card)


def _vectors(
    store: Store, network: UniversalNetwork, encoding: str | None
) -> StructureVectors | None:
    if encoding is not None:
        return open_encoding(store, encoding)
    if network.encoding.provenance.source != SOURCE:
        return None
    taxonomy = load_taxonomy()
    return StructureVectors(taxonomy.names, anatomy_vectors(taxonomy, taxonomy.names))
