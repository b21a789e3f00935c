"""``prefstream stack``: starts and stops a real Kafka and a real Cassandra on this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.commands.context import options, settings_of
from streams.commands.errors import EXIT_FAILED, CommandError
from streams.commands.output import note, say, say_json, say_table

if TYPE_CHECKING:
    from deploy.local.stack import Stack
    from streams.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="Start and stop a real Kafka and a real Cassandra on this machine.",
    rich_markup_mode=None,
)

NewFolder = Annotated[
    Path, typer.Option(help="Folder in which the stack keeps its data, its logs and the record of its processes.")
]
Folder = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the stack. Without it: the folder whose settings file (written by `stack up`) is in use, else "
        ".prefstream/stack.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")]

DEFAULT_FOLDER = Path(".prefstream/stack")


@app.command()
def up(ctx: typer.Context, folder: NewFolder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Start Kafka and Cassandra on free loopback ports, create topics and tables, and write a settings file for them.

    This needs JDK 17 and Maven; Maven downloads both servers the first time. A server that runs already keeps running.

    \b
    Examples:
      prefstream stack up
      prefstream stack up --folder /tmp/shop --json
    """
    import asyncio

    from deploy.local import stack
    from streams.commands.broker import connect
    from streams.commands.toml import to_toml
    from streams.commands.topics import create_missing
    from streams.stores.open_store import make_store

    base = settings_of(ctx)  # so that a wrong setting is reported before servers are started
    with _stack_errors():
        servers = stack.up(folder, progress=note)
    settings = settings_for(base, servers)
    created, present = create_missing(settings, connect(settings.kafka))
    asyncio.run(_open_and_close(make_store(settings)))
    config = _config_of(folder.resolve())
    stated = settings.model_dump(mode="json", exclude_defaults=True)
    config.write_text(
        f"# Written by `prefstream stack up` for the servers in {folder.resolve()}\n{to_toml(stated)}", "utf-8"
    )
    if as_json:
        say_json(
            {
                "bootstrap_servers": servers.bootstrap_servers,
                "cassandra_hosts": servers.cassandra_hosts,
                "cassandra_port": servers.cassandra_port,
                "keyspace": settings.keyspace,
                "topics": sorted(created + present),
                "config": str(config),
                "worker": f"prefstream --config {config} worker",
            }
        )
        return
    hosts = ", ".join(f"{host}:{servers.cassandra_port}" for host in servers.cassandra_hosts)
    say(f"Kafka answers at {servers.bootstrap_servers}, Cassandra at {hosts}; topics and tables exist.")
    say(
        f"Next, in each terminal:\n  export PREFSTREAM_CONFIG={config}\n  prefstream worker\n"
        f"  prefstream replay YOUR-EVENTS.jsonl --catalog YOUR-ITEMS.jsonl\n  prefstream watch\n"
        f"To stop the servers and keep their data: prefstream stack down{_with(folder)}"
    )


def settings_for(base: "Settings", servers: "Stack") -> "Settings":
    """Point the present settings to these servers, and drop the log-ins and certificates of other servers."""
    from streams.settings import Cassandra, Tls

    local = {"bootstrap_servers": servers.bootstrap_servers, "tls": Tls(), "sasl": None, "replication_factor": 1}
    cassandra = Cassandra(hosts=servers.cassandra_hosts, port=servers.cassandra_port)
    return base.model_copy(
        update={
            "data_dir": base.data_dir.resolve(),  # the file may be used from any folder
            "kafka": base.kafka.model_copy(update=local),
            "store": base.store.model_copy(update={"kind": "cassandra", "cassandra": cassandra}),
        }
    )


@contextmanager
def _stack_errors() -> Iterator[None]:
    """Turn errors of the stack, which does not import prefstream, into errors of the command."""
    from deploy.local.errors import StackError

    try:
        yield
    except StackError as error:
        raise CommandError(str(error)) from error


async def _open_and_close(store: Any) -> None:
    try:
        await store.open()
    finally:
        await store.close()


def _config_of(folder: Path) -> Path:
    """The settings file of the stack in ``folder``: it lies beside the folder and has its name."""
    return folder.with_name(f"{folder.name}.toml")


def _folder_in_use(ctx: typer.Context, given: Path | None) -> Path:
    """The folder that was given, else that of the settings file in use if it is a stack's, else the default folder."""
    from deploy.local.record import FILE
    from streams.settings import CONFIG_VARIABLE

    if given is not None:
        return given.absolute()
    config = options(ctx).config or Path(os.environ.get(CONFIG_VARIABLE, ""))
    if config.suffix == ".toml":
        folder = config.absolute().with_suffix("")
        if (folder / FILE).is_file():
            return folder
    return DEFAULT_FOLDER.absolute()


@app.command()
def down(ctx: typer.Context, folder: Folder = None, as_json: AsJson = False) -> None:
    """Stop the two servers of a stack, and no other process. Their data are kept.

    The command ends when both processes are gone.

    \b
    Examples:
      prefstream stack down
      prefstream --config /tmp/shop.toml stack down
    """
    from deploy.local import stack

    place = _folder_in_use(ctx, folder)
    with _stack_errors():
        stopped = stack.down(place)
    if as_json:
        say_json({"stopped": stopped})
    elif stopped:
        say(f"The servers of {place} are stopped; their data are kept.")
    else:
        say(
            f"No server of {place} was running. For the stack of another folder give --folder FOLDER, or "
            "`prefstream --config` with its settings file."
        )


@app.command()
def status(ctx: typer.Context, folder: Folder = None, as_json: AsJson = False) -> None:
    """Show whether the servers run and answer; the exit code is 1 unless both do.

    \b
    Examples:
      prefstream stack status
      prefstream stack status --json
    """
    from dataclasses import asdict

    from deploy.local import stack

    place = _folder_in_use(ctx, folder)
    with _stack_errors():
        state = stack.status(place)
    if as_json:
        servers = [asdict(server) | {"log": str(server.log)} for server in state.servers]
        say_json({"running": state.running, "folder": str(state.folder), "servers": servers})
    elif not state.servers:
        say(f"There is no stack in {place}: start one with `prefstream stack up{_with(place)}`.")
    else:
        say_table(
            ("server", "state", "address", "process", "log"),
            [
                (
                    server.name,
                    "answers" if server.answers else "runs, but does not answer" if server.running else "stopped",
                    server.address,
                    str(server.pid or ""),
                    str(server.log),
                )
                for server in state.servers
            ],
        )
    if not state.running:
        raise typer.Exit(EXIT_FAILED)


def _with(folder: Path) -> str:
    return "" if folder.absolute() == DEFAULT_FOLDER.absolute() else f" --folder {folder.absolute()}"
