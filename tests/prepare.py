"""``python -m tests.prepare``: fetches what the tests need of the machine, or says in a sentence what to install.

Java and Maven must be there. Kafka, Cassandra, Prometheus and Chromium are fetched once.
"""

import sys

from deploy.local import jars, prometheus
from deploy.local.__main__ import main as local_stack
from deploy.local.errors import StackError
from tests.console import install_browser


def main() -> int:
    """Prepare the machine; returns the exit code."""
    if local_stack(["check"]) != 0:  # it says why
        return 1
    try:
        for fetch in (jars.fetch, prometheus.find):
            fetch(lambda line: print(line, file=sys.stderr, flush=True))
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return install_browser.main()


if __name__ == "__main__":
    sys.exit(main())
