"""Finds Java and Maven, and holds the JVM options of both servers."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from deploy.local.errors import StackError

OLDEST = 17  # Kafka 4's brokers
NEWEST = 23  # Cassandra 5 installs a security manager, which Java 24 removed

_INSTALL_JDK = "install a JDK 17 (Debian, Ubuntu: openjdk-17-jdk-headless; macOS: openjdk@17) or set JAVA_HOME to one"

QUICK_START = (
    # for servers that live for minutes on two shared cores: no threads for garbage collection, and only the quick
    # compiler (12 -> 8 s of CPU until both answer, and half the CPU for the first 30,000 writes after that)
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    # Maven compared the checksums of the jars, and verifying every class takes two more seconds of CPU
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:-BytecodeVerificationRemote",
    # no files in the shared temporary folder
    "-XX:-UsePerfData",
    # half a server is worse than none
    "-XX:+ExitOnOutOfMemoryError",
)


def find_java() -> Path:
    """Path of the ``java`` that will run the servers: in JAVA_HOME, else on PATH.

    Raises
    ------
    StackError
        There is no ``java``, or its version does not suit both servers.
    """
    java = _at_home() or shutil.which("java")
    if java is None:
        raise StackError(f"The local stack needs Java, and no java was found: {_INSTALL_JDK}.")
    output = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    major = major_version(output.stdout + output.stderr)
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


def major_version(output: str) -> int | None:
    """Major version: 17 for ``openjdk version "17.0.15"``, 8 for ``java version "1.8.0_402"``."""
    match = re.search(r'version "(?:1\.)?(\d+)', output)
    return int(match[1]) if match else None


def find_maven() -> Path:
    """Path of ``mvn`` on PATH; `StackError` if there is none."""
    mvn = shutil.which("mvn")
    if mvn is None:
        raise StackError(
            "The local stack fetches Kafka and Cassandra with Maven, and no mvn was found: "
            "install Maven 3.6 or later (Debian, Ubuntu, macOS: maven)."
        )
    return Path(mvn)
