"""Kafka in the local stack: one KRaft node."""

import base64
import subprocess
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from deploy.local.errors import StackError
from deploy.local.java import QUICK_START
from deploy.local.ports import HOST, is_listening
from deploy.local.server import CONFIG, Ports, render

PROPERTIES = "kafka.properties"


class Kafka:
    """Kafka's broker and controller in one process (see ``server.Server``)."""

    name = "kafka"
    title = "Kafka"
    port_names = ("broker", "controller")

    def prepare(self, folder: Path, ports: Ports, *, java: Path, jars: Path) -> None:
        (folder / PROPERTIES).write_text(render(PROPERTIES, ports), encoding="utf-8")
        if (folder / "kafka-data" / "meta.properties").exists():
            return
        tool = [*_java(java, jars), "kafka.tools.StorageTool", "format", "--standalone"]
        done = subprocess.run(
            [*tool, "--cluster-id", cluster_id(), "--config", PROPERTIES],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise StackError(f"Kafka could not format its storage in {folder / 'kafka-data'}: {done.stderr.strip()}")

    def command(self, folder: Path, *, java: Path, jars: Path) -> list[str]:
        return [*_java(java, jars), "-Xms256m", "-Xmx512m", "kafka.Kafka", PROPERTIES]

    def answers(self, ports: Ports) -> bool:
        if not is_listening(ports["broker"]):  # saves the two seconds for which librdkafka tries to connect
            return False
        client = AdminClient({"bootstrap.servers": f"{HOST}:{ports['broker']}", "log_level": 0})
        try:
            return bool(client.list_topics(timeout=2).brokers)
        except KafkaException:
            return False


def _java(java: Path, jars: Path) -> list[str]:
    logging = f"-Dlog4j2.configurationFile={(CONFIG / 'log4j2.properties').as_uri()}"
    return [str(java), *QUICK_START, logging, "-cp", f"{jars / 'kafka'}/*"]


def cluster_id() -> str:
    """Random UUID as Kafka writes it: base64 for URLs. A dash in front would look like an option of the tool."""
    text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
    return text if not text.startswith("-") else f"A{text[1:]}"
