"""Where Java and Maven are, and the JVM options that both servers share."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from deploy.local.errors import StackError

OLDEST = 17  # Kafka 4's brokers
NEWEST = 23  # Cassandra 5 installs a security manager, which Java 24 took away

_INSTALL_JDK = "install a JDK 17 (Debian, Ubuntu: openjdk-17-jdk-headless; macOS: openjdk@17) or set JAVA_HOME to one"

QUICK_START = (
    # what suits servers that live for minutes on two shared cores: no threads for collecting, and only the quick
    # compiler (12 -> 8 s of CPU until both answer, and half the CPU for the first 30,000 writes after that)
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    # jars whose checksums Maven compared: checking every class again takes two more seconds of CPU
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:-BytecodeVerificationRemote",
    # no files in the shared temporary folder
    "-XX:-UsePerfData",
    # half a server is worse than none
    "-XX:+ExitOnOutOfMemoryError",
)


def find_java() -> Path:
    """The ``java`` that will run the servers: of JAVA_HOME, else of PATH.

    Raises
    ------
    StackError
        There is none, or its version does not suit both servers.
    """
    java = _at_home() or shutil.which("java")
    if java is None:
        raise StackError(f"The local stack needs Java, and no java was found: {_INSTALL_JDK}.")
    shown = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    major = major_version(shown.stdout + shown.stderr)
    if major is None:
        raise StackError(f"'{java} -version' did not print a Java version: {_INSTALL_JDK}.")
    if not OLDEST <= major <= NEWEST:
        raise StackError(
            f"The local stack runs on Java {OLDEST} to {NEWEST}, and {java} is Java {major}: {_INSTALL_JDK}."
        )
    return Path(java)


def _at_home() -> str | None:
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=str(Path(home) / "bin")) if home else None


def major_version(shown: str) -> int | None:
    """The 17 of ``openjdk version "17.0.15"``, the 8 of ``java version "1.8.0_402"``."""
    found = re.search(r'version "(?:1\.)?(\d+)', shown)
    return int(found[1]) if found else None


def find_maven() -> Path:
    """The ``mvn`` of PATH; raises StackError if there is none."""
    mvn = shutil.which("mvn")
    if mvn is None:
        raise StackError(
            "The local stack fetches Kafka and Cassandra with Maven, and no mvn was found: "
            "install Maven 3.6 or later (Debian, Ubuntu, macOS: maven)."
        )
    return Path(mvn)
