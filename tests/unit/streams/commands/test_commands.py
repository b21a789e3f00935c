import json
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deploy.local import stack
from streams.cli import app
from streams.commands import topics
from streams.commands.stack import settings_for
from streams.commands.toml import to_toml
from streams.settings import SIMULATOR, load_settings

COMMANDS = [
    "demo",
    "worker",
    "replay",
    "watch",
    "train",
    "evaluate",
    "quantise",
    "console",
    *(f"topics {name}" for name in ("create", "grow", "list")),
    *(f"dlq {name}" for name in ("list", "fields", "show", "replay")),
    *(f"profile {name}" for name in ("show", "forget")),
    *(f"encoders {name}" for name in ("list", "activate", "rollback")),
    *(f"stack {name}" for name in ("up", "down", "status")),
]


def test_every_command_is_listed_here() -> None:
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    found = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    for name, group in groups.items():
        assert group is not None
        found |= {f"{name} {c.name or c.callback.__name__}" for c in group.registered_commands if c.callback}
    assert found == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_an_example_that_starts_with_the_command(run: Any, command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    examples = result.stdout.split("Examples:", 1)[1].split("Options:")[0]
    assert "prefstream" in examples
    assert command in examples


def test_help_imports_nothing_heavy() -> None:
    """What makes a start slow: together these cost seconds."""
    heavy = ("faust", "confluent_kafka", "numpy", "pydantic", "rich", "onnxruntime", "cassandra", "aiohttp", "msgspec")
    code = f"import sys, streams.cli; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=_root(), check=True)
    assert done.stdout == "[]\n"


def _root() -> Path:
    return Path(__file__).parents[4]


@pytest.mark.parametrize(
    "arguments",
    [
        ("watch",),
        ("console",),
        ("replay", "events.jsonl"),
        ("dlq", "list"),
        ("dlq", "show", "0:0"),
        ("dlq", "replay", "--all"),
        ("profile", "forget", "u1", "--yes"),
        ("topics", "list"),
        ("topics", "create"),
        ("topics", "grow", "8"),
    ],
)
def test_without_a_broker_the_way_to_one_is_told(run: Any, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "the simulator lives inside the worker" in result.stderr
    assert "--broker HOST:PORT" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_wrong_settings_file_is_one_sentence(run: Any, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("[kafka]\npartitions = -1\n", "utf-8")
    for file, said in (("wrong.toml", "kafka.partitions is -1"), ("missing.toml", "'missing.toml'")):
        result = run("--config", file, "watch")
        assert result.exit_code == 1
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_broker_that_is_down_is_one_sentence(run: Any, monkeypatch: Any) -> None:
    from streams.commands import broker

    monkeypatch.setattr(broker, "connect", partial(broker.connect, timeout_s=0.2))
    result = run("--broker", "127.0.0.1:1", "watch")
    assert result.exit_code == 1
    assert "No Kafka broker answered at 127.0.0.1:1" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_ctrl_c_is_quiet(run: Any, monkeypatch: Any) -> None:
    from streams.commands import broker

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(broker, "connect", interrupt)
    result = run("--broker", "127.0.0.1:1", "watch")
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "")


def test_an_error_that_is_a_bug_keeps_its_trace(run: Any, monkeypatch: Any) -> None:
    from streams.commands import broker

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(broker, "connect", fail)
    with pytest.raises(ZeroDivisionError):
        run("--broker", "127.0.0.1:1", "watch")


def test_topics_list_marks_what_is_missing(run: Any, shop: Any) -> None:
    result = run("--broker", shop.address, "topics", "list", "--json")
    found = {topic["name"]: topic for topic in json.loads(result.stdout)}
    assert (found["clicks"]["partitions"], found["clicks"]["missing"]) == (4, False)
    assert (found["trending"]["partitions"], found["trending"]["missing"]) == (None, True)
    result = run("--broker", shop.address, "topics", "list")
    assert "prefstream topics create" in result.stderr


@pytest.mark.parametrize("arguments", [("create",), ("grow", "8")])
def test_the_simulators_topics_cannot_be_made(run: Any, shop: Any, arguments: tuple[str, ...]) -> None:
    result = run("--broker", shop.address, "topics", *arguments)
    assert result.exit_code == 1
    assert "in-process simulator" in result.stderr


def test_create_makes_what_is_missing_with_the_partitions_of_the_others(run: Any, shop: Any, monkeypatch: Any) -> None:
    """A broker that grew to four partitions gets no input of the setting's three."""
    made = {}

    def create(_: Any, wanted: Any) -> list[str]:
        made.update({topic.topic: topic.num_partitions for topic in wanted})
        return sorted(made)

    from streams.commands.broker import connect

    monkeypatch.setattr(topics, "connect_to_kafka", lambda settings: connect(settings.kafka))
    monkeypatch.setattr("streams.kafka.topics.create_topics", create)
    monkeypatch.setenv("PREFSTREAM_KAFKA__PARTITIONS", "3")
    result = run("--broker", shop.address, "topics", "create", "--json")
    assert made == {"offers": 4, "trending": 4, "encoders": 4, "item-vectors-hashed-text-1": 4}
    found = json.loads(result.stdout)
    assert found["created"] == sorted(made)
    assert "clicks" in found["present"]


def test_the_worker_tells_how_to_reach_its_simulator(run: Any, monkeypatch: Any) -> None:
    started: list[Any] = []

    class Worker:
        def __init__(self, settings: Any, simulator: Any, drained: Any) -> None:
            started.append((settings, simulator, drained))

        async def run(self) -> None:
            assert started[0][1].address

    monkeypatch.setattr("streams.worker.worker.Worker", Worker)
    result = run("worker", "--port", 0, "--drained", 2, "--drained", 3)
    [(settings, simulator, drained)] = started
    assert result.exit_code == 0
    assert drained == [2, 3]
    assert (settings.server.port, settings.kafka.bootstrap_servers) == (0, SIMULATOR)
    assert f"prefstream --broker {simulator.address} watch" in result.stdout


def test_a_port_that_is_taken_is_one_sentence(run: Any, monkeypatch: Any) -> None:
    class Worker:
        def __init__(self, *_: Any) -> None: ...

        async def run(self) -> None:
            raise OSError(98, "Address already in use")

    monkeypatch.setattr("streams.worker.worker.Worker", Worker)
    result = run("--broker", "127.0.0.1:1", "worker", "--port", 9)
    assert result.exit_code == 1
    assert "can't listen on 127.0.0.1:9" in result.stderr


def test_the_demo_gets_its_options_and_gives_its_exit_code(run: Any, monkeypatch: Any) -> None:
    called: list[Any] = []
    monkeypatch.setattr("streams.demo.run.run_demo", lambda *given: called.append(given) or 3)
    assert run("demo", "--seconds", 5, "--shoppers", 7, "--seed", 9, "--plain").exit_code == 3
    assert called == [(5.0, 7, 9, True, None)]
    assert run("demo", "--page").exit_code == 3
    assert called[1] == (None, 40, 1, False, True)


def test_status_and_down_where_no_stack_was(run: Any) -> None:
    result = run("stack", "status", "--folder", "nothing")
    assert result.exit_code == 1
    assert f"There is no stack in {Path.cwd() / 'nothing'}: " in result.stdout
    assert f"prefstream stack up --folder {Path.cwd() / 'nothing'}`" in result.stdout
    assert f"No server of {Path.cwd() / '.prefstream' / 'stack'} was running" in run("stack", "down").stdout
    assert json.loads(run("stack", "down", "--folder", "nothing", "--json").stdout) == {"stopped": False}


def test_up_writes_settings_that_name_its_folder_and_a_hint_without_files_that_do_not_exist(
    run: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    class Store:
        async def open(self) -> None: ...

        async def close(self) -> None: ...

    folder = tmp_path / "shop"
    folder.mkdir()
    monkeypatch.setattr(stack, "up", lambda *_, **__: stack.Stack("127.0.0.1:29092", ["127.0.0.1"], 9, folder, 1, 2))
    monkeypatch.setattr("streams.commands.broker.connect", lambda *_: None)
    monkeypatch.setattr("streams.commands.topics.create_missing", lambda *_: ([], []))
    monkeypatch.setattr("streams.stores.open_store.make_store", lambda _: Store())
    told = run("stack", "up", "--folder", "shop").stdout
    assert f"export PREFSTREAM_CONFIG={tmp_path / 'shop.toml'}\n" in told
    assert "replay YOUR-EVENTS.jsonl --catalog YOUR-ITEMS.jsonl" in told
    assert f"prefstream stack down --folder {folder}\n" in told
    first = (tmp_path / "shop.toml").read_text().splitlines()[0]
    assert first == f"# Written by `prefstream stack up` for the servers in {folder}"
    assert load_settings(tmp_path / "shop.toml").kafka.bootstrap_servers == "127.0.0.1:29092"


@pytest.mark.parametrize("by", ["option", "variable"])
def test_status_and_down_look_in_the_folder_of_the_settings_file(
    run: Any, monkeypatch: Any, tmp_path: Path, by: str
) -> None:
    """Regression: they looked in ./.prefstream/stack, whatever stack the commands beside them used."""
    folder = tmp_path / "elsewhere" / "shop"
    folder.mkdir(parents=True)
    (folder / "stack.json").write_text('{"servers": {}}')
    config = folder.with_name("shop.toml")
    config.write_text("")
    words = ["--config", config] if by == "option" else []
    if by == "variable":
        monkeypatch.setenv("PREFSTREAM_CONFIG", str(config))
    assert json.loads(run(*words, "stack", "status", "--json").stdout)["folder"] == str(folder)
    assert f"No server of {folder} was running" in run(*words, "stack", "down").stdout
    assert f"No server of {tmp_path / 'other'} was" in run(*words, "stack", "down", "--folder", "other").stdout
    (folder / "stack.json").unlink()  # a settings file that no `stack up` wrote
    assert f"No server of {tmp_path / '.prefstream' / 'stack'} was" in run(*words, "stack", "down").stdout


def test_a_stack_that_does_not_start_is_one_sentence(run: Any, monkeypatch: Any) -> None:
    def up(*_: Any, **__: Any) -> None:
        raise stack.StackError("There is no Java 17: install one.")

    monkeypatch.setattr(stack, "up", up)
    result = run("stack", "up")
    assert (result.exit_code, result.stderr) == (1, "prefstream: There is no Java 17: install one.\n")


def test_the_stacks_settings_keep_the_rest_and_leave_log_ins_out(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(
        'namespace = "shop1"\n[kafka]\nbootstrap_servers = "kafka.shop:9092"\nreplication_factor = 3\npartitions = 8\n'
        '[kafka.sasl]\nusername = "me"\npassword = "secret"\n[store.cassandra]\nhosts = ["a"]\npassword = "secret"\n'
        '[ranking]\nrecently_seen = "keep"\n',
        "utf-8",
    )
    servers = stack.Stack("127.0.0.1:29092", ["127.0.0.2"], 29042, tmp_path, 1, 2)
    settings = settings_for(load_settings(tmp_path / "base.toml"), servers)
    written = to_toml(settings.model_dump(mode="json", exclude_defaults=True))
    assert "secret" not in written
    assert "**" not in written
    (tmp_path / "stack.toml").write_text(written, "utf-8")
    again = load_settings(tmp_path / "stack.toml")
    assert again == settings
    assert (again.namespace, again.kafka.partitions, again.ranking.recently_seen) == ("shop1", 8, "keep")
    assert (again.kafka.bootstrap_servers, again.kafka.sasl, again.kafka.replication_factor) == (
        "127.0.0.1:29092",
        None,
        1,
    )
    assert (again.store.kind, again.store.cassandra.hosts, again.store.cassandra.port) == (
        "cassandra",
        ["127.0.0.2"],
        29042,
    )


def test_toml_survives_its_own_reader() -> None:
    tables = {"a": 'x "y" \\ ü 😀\n', "b": {"c": [1, 2.5], "d": {"e": True, "f": ["g"]}}, "h": {"i": {"j": 0}}}
    assert tomllib.loads(to_toml(tables | {"none": None})) == tables


@pytest.mark.parametrize("command", ["watch", "topics list"])
def test_a_global_option_behind_the_command_says_where_it_belongs(run: Any, command: str) -> None:
    result = run(*command.split(), "--broker", "127.0.0.1:1")
    assert result.exit_code == 2
    assert "--broker stands before the command" in result.stderr
