"""``python -m deploy.local up|down|status FOLDER``: the stack without the rest of prefstream."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from deploy.local.stack import StackError, down, status, up


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, or 1 after an error or where ``status`` finds a server silent."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description=__doc__)
    parser.add_argument("command", choices=("up", "down", "status"))
    parser.add_argument("folder", type=Path, help="where the stack keeps its data, logs and record")
    parser.add_argument("--kafka-port", type=int, help="the port for Kafka's clients (default: a free one)")
    parser.add_argument("--cassandra-port", type=int, help="the port for Cassandra's clients (default: a free one)")
    given = parser.parse_args(arguments)
    try:
        return _run(given)
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(given: argparse.Namespace) -> int:
    match given.command:
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
            found = status(given.folder)
            _print({"running": found.running, **asdict(found)})
            return 0 if found.running else 1


def _print(shown: dict[str, object]) -> None:
    print(json.dumps(shown, indent=2, default=str))


if __name__ == "__main__":
    sys.exit(main())
