"""``prefstream quantise``: writes a variant of an encoder with smaller item graphs."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.commands.errors import CommandError
from streams.commands.output import check_writable, note, say, say_json

if TYPE_CHECKING:
    from encoders.building.quantise import Lost
    from streams.offline.ranking_metrics import Figure

_SHOWN = ("recall@20", "mrr@20", "ndcg@20")


class Precision(StrEnum):
    """The precision of the weights."""

    fp16 = "fp16"
    int8 = "int8"


def quantise(
    folder: Annotated[Path, typer.Argument(help="The encoder folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    to: Annotated[Precision, typer.Option(help="Precision of the weights.")] = Precision.fp16,
    catalog: Annotated[
        Path | None,
        typer.Option(
            help="Catalog items on which both encoders are compared, one JSON object a line.", show_default=False
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Events that both encoders predict, as in `prefstream evaluate`.", show_default=False),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Make this many predictions at most: a random sample of the events.")
    ] = 20_000,
    seed: Annotated[int, typer.Option(help="Seed of the sample and of the intervals.")] = 0,
    html: Annotated[
        Path | None, typer.Option(help="Write a report with plots to this HTML file; needs --data.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Write a variant of an encoder with float16 or int8 weights in its item graphs, and compare the two.

    The comparison has size, speed and vectors. With --data both encoders also predict the same events, with the code
    that a worker runs, and the comparison says how much accuracy is lost, with 95% bootstrap intervals. The version of
    the variant gets a suffix, because its vectors differ.

    \b
    Examples:
      prefstream quantise encoders/v1 -o encoders/v1-fp16
      prefstream quantise encoders/v1 -o encoders/v1-int8 --to int8 --catalog items.jsonl --data tomorrow.jsonl
    """
    import dataclasses

    from encoders.artifact import manifest
    from encoders.building import quantise as tool
    from encoders.runtime import Runtime
    from streams.commands.questions import known_items, read_questions
    from streams.offline.evaluation import StreamModel, evaluate_stream
    from streams.offline.ranking_metrics import lost as lost_accuracy
    from streams.offline.report_page import page

    if output.exists():
        raise CommandError(f"There is something at '{output}' already: give another folder, or remove it.")
    if html is not None and data is None:
        raise CommandError("--html reports how well both encoders predict: give events with --data.")
    if html is not None and html.parent != output:  # the folder `output` is created below
        check_writable(html)
    encoder = manifest.load(folder)
    items, trained_on = known_items(encoder, catalog)
    if data is not None and not items:
        raise CommandError(f"'{folder}' is a text encoder: it needs the texts of the items. Give them with --catalog.")
    asked = None if data is None else read_questions(data, limit, seed)
    variant = tool.quantise(encoder, output, to.value)
    if not items:
        note("The vectors are not compared: a text encoder needs items. Give them with --catalog.")
    runtime = Runtime("cpu", threads=1)
    lost = tool.compare(runtime, encoder, variant, list(items.values()))
    figures: dict[str, Figure] = {}
    if asked is not None:
        models = [StreamModel(compared, runtime, list(items.values())) for compared in (variant, encoder)]
        reports = [evaluate_stream(model, asked, trained_on, seed) for model in models]
        figures = lost_accuracy(reports[1].ranks, reports[0].ranks, seed)
        if html is not None:
            remarks = [*_remarks(lost), *((f"{name} lost, per cent", _text(figures[name])) for name in _SHOWN)]
            html.write_text(page(str(output), str(data), reports, remarks), "utf-8")
    if as_json:
        answer = {"version": variant.manifest.version} | dataclasses.asdict(lost)
        if asked is not None:
            answer["predictions"] = len(asked.targets)
            answer["quality"] = {
                name: {"before": reports[1].accuracy[name].mean, "after": reports[0].accuracy[name].mean}
                | {"lost": figure._asdict()}
                for name, figure in figures.items()
            }
        say_json(answer)
        return
    said = ", ".join(f"{name} {value}" for name, value in _remarks(lost))
    say(f"{output}: version {variant.manifest.version}, {said} ({len(items):,} items)")
    for name in _SHOWN if asked is not None else ():
        before, after = reports[1].accuracy[name], reports[0].accuracy[name]
        say(f"  {name}: {100 * before.mean:.2f} -> {100 * after.mean:.2f}, lost {_text(figures[name])}")


def _remarks(lost: "Lost") -> list[tuple[str, str]]:
    return [
        ("item graphs", f"{lost.size_before / 1e6:.1f} MB -> {lost.size_after / 1e6:.1f} MB"),
        ("encoding an item", f"{lost.us_before:.1f} -> {lost.us_after:.1f} us"),
        ("cosine with the vectors before", f"mean {lost.mean_cosine:.5f}, least {lost.least_cosine:.5f}"),
    ]


def _text(figure: "Figure") -> str:
    return f"{100 * figure.mean:.2f} ({100 * figure.low:.2f} to {100 * figure.high:.2f})"
