"""``python -m deploy.local up|down|status FOLDER``: the stack without the rest of prefstream.

``python -m deploy.local check`` fails at once, with a sentence, if Java or Maven is missing.
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from deploy.local.jars import cache_folder
from deploy.local.java import find_java, find_maven
from deploy.local.stack import StackError, down, status, up


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code: 1 after an error or if ``status`` finds a silent server, else 0."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="look for Java and Maven")
    for name, about in (("up", "start both servers"), ("down", "stop both servers"), ("status", "look at them")):
        command = commands.add_parser(name, help=about)
        command.add_argument("folder", type=Path, help="where the stack keeps its data, logs and record")
        if name == "up":
            command.add_argument("--kafka-port", type=int, help="the port for Kafka's clients (default: a free one)")
            command.add_argument("--cassandra-port", type=int, help="the same for Cassandra's")
    given = parser.parse_args(arguments)
    try:
        return _run(given)
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(given: argparse.Namespace) -> int:
    match given.command:
        case "check":
            find_java()
            if not cache_folder().is_dir():
                find_maven()
            return 0
        case "up":
            stack = up(
                given.folder,
                kafka_port=given.kafka_port,
                cassandra_port=given.cassandra_port,
                progress=lambda line: print(line, file=sys.stderr),
            )
            _print(asdict(stack))
            return 0
        case "down":
            _print({"stopped": down(given.folder)})
            return 0
        case _:
            shown = status(given.folder)
            _print({"running": shown.running, **asdict(shown)})
            return 0 if shown.running else 1


def _print(shown: dict[str, object]) -> None:
    print(json.dumps(shown, indent=2, default=str))


if __name__ == "__main__":
    sys.exit(main())
