"""``prefstream train``: trains an encoder on recorded events, and writes its folder."""

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.commands.errors import CommandError
from streams.commands.output import note, say

if TYPE_CHECKING:
    from encoders.training.fit import Figures
    from encoders.training.fit import Progress as TrainingProgress
    from encoders.training.options import TrainingOptions


_LEAST_STEPS = 50
"""The least number of steps of an epoch: few events in large batches would hardly change the weights."""


def train(
    events: Annotated[Path, typer.Argument(help="Events: JSON lines, CSV or Parquet, or Taobao's UserBehavior.csv.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The encoder folder to write.")],
    catalog: Annotated[
        Path | None,
        typer.Argument(
            help="Catalog items, one JSON object a line. With them, new items have a vector at once.",
            show_default=False,
        ),
    ] = None,
    text_model: Annotated[
        Path | None,
        typer.Option(
            help="A Hugging Face folder (tokenizer.json, model.onnx) of a model that reads the items' texts.",
            show_default=False,
        ),
    ] = None,
    dimension: Annotated[
        int, typer.Option(min=1, help="Length of a vector. The cost of a score grows in proportion to it.")
    ] = 100,
    epochs: Annotated[int, typer.Option(min=1, help="Number of passes over all events.")] = 8,
    validation: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.9,
            help="Share of the users, the latest ones, who are held out to measure; 0 holds out nobody.",
        ),
    ] = 0.05,
    older: Annotated[
        int,
        typer.Option(
            min=0,
            help="Events of a user, beyond the last 20, that half-lives are learned from, if events have times.",
        ),
    ] = 100,
    patience: Annotated[int, typer.Option(min=0, help="Stop after this many epochs without a better figure.")] = 3,
    popularity: Annotated[
        bool, typer.Option("--popularity", help="Learn a bias for each item too: its popularity among all users.")
    ] = False,
    repeat_prior: Annotated[
        bool,
        typer.Option(
            help="Start the scores of items seen before from how often users return to an item. Without it: from zero."
        ),
    ] = True,
    repeat_lift: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="How far to ignore which of the items just seen came last: 0 not at all, 1 completely.",
        ),
    ] = 0.75,
    seed: Annotated[int, typer.Option(help="The same seed and data give the same encoder on one machine.")] = 0,
    version: Annotated[
        str | None,
        typer.Option(help="Version of the encoder. Without it: a checksum of data and options.", show_default=False),
    ] = None,
) -> None:
    """Train an encoder on recorded events, in JAX (install the extra `train`).

    The events are one JSON object a line, as for `prefstream replay`, or a table. A table has the columns user_id (or
    session_id) and item_id. It may have the column type, and a time: event_time_ms, event_time, timestamp, time or
    unix_time (in seconds, milli-, micro- or nanoseconds, in ISO 8601, or as Parquet's timestamps). Without times the
    rows must be in the order of time. A line that is no event is skipped, and the reasons are told. With a catalog the
    encoder also learns from the items' titles, categories, brands and attributes, and from prices and image vectors if
    there are any; a new item then has a vector at once. Ctrl-C stops the training; the same command continues after
    the last complete epoch.

    \b
    Examples:
      prefstream train events.jsonl -o encoders/v1
      prefstream train events.jsonl items.jsonl -o encoders/v1 --text-model all-MiniLM-L6-v2
      prefstream train events.parquet items.jsonl -o encoders/v1 --dimension 160 --epochs 10
    """
    try:
        from encoders.training import export
        from encoders.training.features import FeatureTable
        from encoders.training.fit import fit
        from encoders.training.options import TrainingOptions
        from encoders.training.sequences import from_lists
    except ImportError as error:
        raise CommandError(
            f"Training needs {error.name}, which is not installed: in a checkout run `make .venv/.dev`, elsewhere "
            "`pip install 'prefstream[train]'`."
        ) from None
    from encoders.items.dense_features import DenseInputs
    from encoders.items.sentences import model_path
    from encoders.runtime import Runtime
    from streams.commands.catalog_files import read_catalog
    from streams.offline.event_logs import read_log

    file = next((path for path in (output, *output.parents) if path.exists() and not path.is_dir()), None)
    if file is not None:
        raise CommandError(f"'{file}' is a file: give the folder to write in --output.")
    if output.exists() and any(path.suffix != ".npz" for path in output.iterdir()):
        raise CommandError(f"There is something at '{output}' already: give another folder, or remove it.")
    log = read_log(events)
    sequences = from_lists(
        [history.items for history in log.histories],
        [history.types or [] for history in log.histories],
        [history.times_ms or [] for history in log.histories],
    )
    table = None
    if text_model is not None and catalog is None:
        raise CommandError("--text-model reads the texts of a catalog: give a catalog after the events.")
    if catalog is not None:
        items = read_catalog(catalog)
        known = [items.get(item) for item in sequences.item_ids]
        dense = DenseInputs.of_catalog(known, None if text_model is None else Runtime(), text_model)
        table = FeatureTable(known, least_items=2, dense=dense)
        note(
            f"{sum(item is not None for item in known):,} of the items are in the catalog; "
            f"learned from: {', '.join([*table.fields, *table.features.dense]) or 'the events alone'}"
        )
    predictions = len(sequences.items) - len(sequences)
    options = TrainingOptions(
        dimension=dimension,
        epochs=epochs,
        batch=max(64, min(2048, predictions // _LEAST_STEPS)),
        validation=validation,
        patience=patience,
        seed=seed,
        popularity=popularity,
        repeat_prior=repeat_prior,
        repeat_lift=repeat_lift,
        older=older,
        own_dropout=0.0 if table is None else 0.1,
    )
    note(
        f"{len(sequences.items):,} events of {len(sequences):,} users, {len(sequences.item_ids):,} items"
        f"{f'; {log.skipped}' if log.skipped.count else ''}"
    )
    output.mkdir(parents=True, exist_ok=True)
    checkpoint = output / "training.npz"
    with _shown(measured=validation > 0) as report:
        trained = fit(sequences, options, None if table is None else table.features, checkpoint, report)
    texts = None if text_model is None else model_path(text_model)
    name = version or _version(options, events, catalog, texts)
    # the checkpoint moves out of the folder, where it would count as a file of the encoder; if the export fails, the
    # training is not lost
    kept = checkpoint.rename(output.with_name(f"{output.name}.training.npz"))
    encoder = export.write(output, sequences.item_ids, trained, options, name, table)
    kept.unlink()
    best = trained.history[trained.best_epoch - 1]
    say(
        f"{output}: version {encoder.manifest.version}, {len(sequences.item_ids):,} items of {dimension} dimensions, "
        f"epoch {trained.best_epoch} of {len(trained.history)}" + (f", {_measured(best)}" if validation else "")
    )


def _measured(figures: "Figures") -> str:
    if math.isnan(figures.recall_at_20):
        return "too few users to hold out any"
    return f"held out recall@20 {figures.recall_at_20:.4f}, MRR@20 {figures.mrr_at_20:.4f}"


def _version(options: "TrainingOptions", *read: Path | None) -> str:
    """A checksum of all that the vectors depend on: two different encoders must not share a version."""
    digest = hashlib.sha256(repr(options).encode())
    for path in read:
        if path is not None:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"trained-{digest.hexdigest()[:12]}-{options.seed}"


@contextmanager
def _shown(*, measured: bool) -> "Iterator[Callable[[TrainingProgress], None]]":
    """Show the training: a progress bar on a terminal, and a line for each epoch."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from streams.commands.output import console

    out = console(err=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, disable=not out.is_terminal) as bar:
        task = bar.add_task("compiling", total=None)

        def report(progress: "TrainingProgress") -> None:
            bar.update(
                task,
                total=progress.steps,
                completed=progress.step,
                description=f"epoch {progress.epoch} loss {progress.loss:.3f}",
            )
            if progress.figures is not None:
                told = f", {_measured(progress.figures)}" if measured else ""
                note(f"epoch {progress.epoch}: loss {progress.loss:.4f}{told}")

        yield report
