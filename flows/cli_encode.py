"""Commands about encodings: how a network is told which structure it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from configs.errors import UsageError
from flows.boundary import guarded
from flows.cli_options import HERE, JsonOption, WorkspaceOption, open_store
from flows.tables import print_json, print_line, print_table

if TYPE_CHECKING:
    from model.structure_vectors import StructureVectors
    from storage.encoding_registry import StoredEncoding

commands = typer.Typer()
encodings = typer.Typer()
commands.add_typer(encodings, name="encode")

PlotOption = Annotated[
    Path | None, typer.Option("--plot", help="Draw the cosine similarities here, .png.")
]


@encodings.callback(invoke_without_command=True)
@guarded
def encode(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Option(
            help="open_clip:MODEL/PRETRAINED (a tag or a file), open_clip:hf-hub:OWNER/MODEL, "
            "file:PATH, one_hot or anatomy."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name to store it under.")] = None,
    prompt: Annotated[
        str | None,
        typer.Option(help="tomography (default), there_is, photo, or a sentence with {}."),
    ] = None,
    structure: Annotated[
        list[str] | None,
        typer.Option(help="A row, in order; all of the taxonomy when left out."),
    ] = None,
    say: Annotated[
        list[str] | None,
        typer.Option(help="What to call a structure in the sentence.", metavar="NAME=WORDS"),
    ] = None,
    plot: PlotOption = None,
    workspace: WorkspaceOption = HERE,
    *,
    quick_gelu: Annotated[
        bool | None,
        typer.Option(help="How a checkpoint file was trained; OpenAI's with quick GELU."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make an encoding of the structures, once, and store it in the workspace.

    Example: atlasloop encode --source open_clip:ViT-B-32/openai --prompt tomography --name clip
    """
    if context.invoked_subcommand is not None:
        return
    if source is None or name is None:
        raise UsageError("encode needs --source and --name; `atlasloop encode --help` lists them")
    from flows.encode import EncodeRequest, open_encoding
    from flows.encode import encode as run
    from flows.similarity_plot import check_plot_path

    if plot is not None:
        check_plot_path(plot)
    request = EncodeRequest(
        source=source,
        prompt=prompt,
        structures=tuple(structure or ()),
        words=_words(say or []),
        quick_gelu=quick_gelu,
    )
    store = open_store(workspace)
    stored = run(store, request, name=name)
    if plot is not None:
        _plot(plot, open_encoding(store, name))
    if as_json:
        print_json(_facts(stored))
    else:
        card = stored.card
        print_line(f"{name}: {len(card['structures'])} x {card['width']} from {card['source']}")


@encodings.command("list")
@guarded
def list_encodings(workspace: WorkspaceOption = HERE, *, as_json: JsonOption = False) -> None:
    """List the encodings of the workspace.

    Example: atlasloop encode list
    """
    from storage.encoding_registry import stored_encodings

    found = stored_encodings(open_store(workspace)).values()
    if as_json:
        print_json([_facts(one) for one in found])
        return
    rows = [
        (one.name, len(one.card["structures"]), one.card["width"], one.card["source"])
        for one in found
    ]
    print_table("Encodings", ["name", "structures", "width", "source"], rows)


@encodings.command()
@guarded
def show(
    name: Annotated[str, typer.Argument(help="Name of a stored encoding.")],
    workspace: WorkspaceOption = HERE,
    plot: PlotOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show where an encoding comes from and which structures are most alike in it.

    Example: atlasloop encode show clip --plot similarities.png
    """
    from flows.encode import open_encoding
    from storage.encoding_registry import find_encoding

    store = open_store(workspace)
    stored, vectors = find_encoding(store, name), open_encoding(store, name)
    if plot is not None:
        _plot(plot, vectors)
    if as_json:
        print_json(_facts(stored))
        return
    for key in ("source", "prompt", "width", "sha256"):
        if stored.card[key] is not None:
            print_line(f"{key}: {stored.card[key]}")
    rows = [(*names, said, likeness) for *names, said, likeness in _nearest(vectors)]
    print_table("Rows", ["structure", "said as", "most alike", "cosine"], rows)


@commands.command()
@guarded
def extend(
    model: Annotated[str, typer.Argument(help="A registered model.")],
    name: Annotated[str, typer.Option("--name", help="Name of the extended model.")],
    structure: Annotated[
        list[str] | None,
        typer.Option(help="What to add; all that the model lacks when left out."),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Stored encoding with rows of the new structures.")
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Give a model further structures, to be trained; what it knows stays as it is.

    Example: atlasloop extend first --name first_wider
    """
    from flows.extend import extend as run

    store = open_store(workspace)
    made = run(store, model, name=name, structures=structure or (), encoding=encoding)
    added = ", ".join(made.card["added_structures"])
    print_line(f"{name}: {model} with {added}, not trained yet")


def _nearest(vectors: StructureVectors) -> list[tuple[str, str, str, str]]:
    """Return each structure, its words, the one most alike, and the cosine."""
    from model.structure_vectors import cosine_similarities

    names, said = vectors.structures, vectors.text.provenance.words
    if len(names) < 2:
        return [(name, "".join(said), "", "") for name in names]
    matrix = cosine_similarities(vectors.text)
    rows = []
    for place, name in enumerate(names):
        matrix[place, place] = -2.0
        other = int(matrix[place].argmax())
        words = said[place] if said else ""
        rows.append((name, words, names[other], f"{matrix[place, other]:.3f}"))
    return rows


def _plot(path: Path, vectors: StructureVectors) -> None:
    from configs.taxonomy import load_taxonomy
    from flows.similarity_plot import write_similarity_plot

    write_similarity_plot(path, vectors, load_taxonomy())


def _facts(stored: StoredEncoding) -> dict[str, object]:
    return {"name": stored.name, "vectors": stored.vectors, **stored.card}


def _words(said: list[str]) -> dict[str, str]:
    pairs = [entry.partition("=") for entry in said]
    bad = [entry for entry, (_, _, words) in zip(said, pairs, strict=True) if not words.strip()]
    if bad:
        raise UsageError(f"--say takes NAME=WORDS, such as aorta='abdominal aorta'; got {bad[0]!r}")
    return {name: words for name, _, words in pairs}
