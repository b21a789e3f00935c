"""``prefstream quantise``: an encoder folder with smaller item graphs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from streams.commands.errors import CommandError
from streams.commands.output import note, say, say_json


class Precision(StrEnum):
    """Of the weights."""

    fp16 = "fp16"
    int8 = "int8"


def quantise(
    folder: Annotated[Path, typer.Argument(help="The encoder folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    to: Annotated[Precision, typer.Option(help="Precision of the weights.")] = Precision.fp16,
    catalog: Annotated[
        Path | None, typer.Option(help="Items to compare both on, one JSON object a line.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The comparison as JSON.")] = False,
) -> None:
    """Write a variant of an encoder with float16 or int8 weights in its item graphs, and compare its vectors.

    Its version gets a suffix, for its vectors are others. `prefstream evaluate` shows what it loses in the end.

    \b
    Examples:
      prefstream quantise encoders/v1 -o encoders/v1-fp16
      prefstream quantise encoders/v1 -o encoders/v1-int8 --to int8 --catalog items.jsonl
    """
    import dataclasses

    from encoders import manifest
    from encoders import quantise as tool
    from encoders.lookup import read_rows
    from encoders.runtime import Runtime
    from schemas.catalog import CatalogItem
    from streams.commands.catalog_files import read_catalog

    if output.exists():
        raise CommandError(f"There is something at '{output}' already: give another folder, or remove it.")
    encoder = manifest.load(folder)
    variant = tool.quantise(encoder, output, to.value)
    known = [] if encoder.manifest.kind == "text" else list(read_rows(encoder))
    items = {item_id: CatalogItem(item_id=item_id, title="") for item_id in known}
    if catalog is not None:
        items |= read_catalog(catalog)
    if not items:
        note("Nothing to compare on: a text encoder needs items, give them with --catalog.")
    lost = tool.compare(Runtime("cpu", threads=1), encoder, variant, list(items.values()))
    if as_json:
        say_json({"version": variant.manifest.version} | dataclasses.asdict(lost))
        return
    say(
        f"{output}: version {variant.manifest.version}, item graphs {lost.size_before / 1e6:.1f} MB -> "
        f"{lost.size_after / 1e6:.1f} MB, {lost.us_before:.1f} -> {lost.us_after:.1f} us an item, cosine with the "
        f"vectors before: mean {lost.mean_cosine:.5f}, least {lost.least_cosine:.5f} ({len(items):,} items)"
    )
