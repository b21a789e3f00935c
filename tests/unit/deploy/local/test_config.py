"""The servers' configuration files and commands, as they are written into a stack's folder."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from deploy.local.cassandra import Cassandra
from deploy.local.errors import StackError
from deploy.local.jars import POM, PROFILES
from deploy.local.kafka import Kafka, cluster_id
from deploy.local.server import CONFIG, render

JAVA = Path("/opt/jdk/bin/java")


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    (tmp_path / "jars" / "cassandra").mkdir(parents=True)
    (tmp_path / "jars" / "cassandra" / "jamm-0.4.0.jar").touch()
    return tmp_path / "jars"


def properties(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_kafka_listens_on_its_ports_and_allows_short_sessions() -> None:
    config = properties(render("kafka.properties", {"broker": 21_000, "controller": 21_001}))
    assert config["listeners"] == "PLAINTEXT://127.0.0.1:21000,CONTROLLER://127.0.0.1:21001"
    assert config["advertised.listeners"] == "PLAINTEXT://127.0.0.1:21000"
    assert config["controller.quorum.bootstrap.servers"] == "127.0.0.1:21001"
    assert config["auto.create.topics.enable"] == "false"
    assert config["group.min.session.timeout.ms"] == "1000"
    assert config["group.initial.rebalance.delay.ms"] == "0"


def test_every_topic_of_kafkas_own_has_one_replica() -> None:
    config = properties(render("kafka.properties", {"broker": 1, "controller": 2}))
    single = {name: value for name, value in config.items() if name.endswith((".replication.factor", ".min.isr"))}
    assert len(single) == 6
    assert set(single.values()) == {"1"}


def test_cassandra_listens_on_its_ports_as_its_own_seed() -> None:
    config = yaml.safe_load(render("cassandra.yaml", {"native": 21_002, "storage": 21_003}))
    assert config["native_transport_port"] == 21_002
    assert config["storage_port"] == 21_003
    assert config["seed_provider"][0]["parameters"] == [{"seeds": "127.0.0.1:21003"}]
    assert {config["listen_address"], config["rpc_address"]} == {"127.0.0.1"}
    assert config["auto_snapshot"] is False
    assert "authenticator" not in config


def test_a_forgotten_port_is_an_error() -> None:
    with pytest.raises(KeyError, match="controller"):
        render("kafka.properties", {"broker": 21_000})


def test_cassandras_files_and_command_hold_the_folder_and_the_agent(tmp_path: Path, jars: Path) -> None:
    folder = tmp_path / "a stack"
    folder.mkdir()
    server = Cassandra()
    server.prepare(folder, {"native": 21_002, "storage": 21_003}, java=JAVA, jars=jars)
    assert "21002" in (folder / "cassandra.yaml").read_text()
    command = server.command(folder, java=JAVA, jars=jars)
    assert command[0] == str(JAVA)
    assert f"-Dcassandra.config=file://{tmp_path}/a%20stack/cassandra.yaml" in command
    assert f"-javaagent:{jars}/cassandra/jamm-0.4.0.jar" in command
    assert command[-3:] == ["-cp", f"{jars}/cassandra/*", "org.apache.cassandra.service.CassandraDaemon"]
    assert "-Xmx1g" in command


def test_logs_without_a_record_are_away_before_cassandra_starts(tmp_path: Path, jars: Path) -> None:
    """Regression: behind a log that a kill had cut short, the one made ahead kept the node from starting."""
    logs = tmp_path / "cassandra-data" / "commitlog"
    logs.mkdir(parents=True)
    for name, size in (("CommitLog-8-1.log", 4_000), ("CommitLog-8-2.log", 84), ("other.txt", 0)):
        (logs / name).write_bytes(bytes(size))
    Cassandra().prepare(tmp_path, {"native": 21_002, "storage": 21_003}, java=JAVA, jars=jars)
    assert sorted(path.name for path in logs.iterdir()) == ["CommitLog-8-1.log", "other.txt"]


def test_jars_without_the_agent_are_said(tmp_path: Path, jars: Path) -> None:
    (jars / "cassandra" / "jamm-0.4.0.jar").unlink()
    with pytest.raises(StackError, match=r"lacks jamm-\*\.jar: delete "):
        Cassandra().command(tmp_path, java=JAVA, jars=jars)


def test_formatted_storage_is_not_formatted_again(tmp_path: Path, jars: Path) -> None:
    (tmp_path / "kafka-data").mkdir()
    (tmp_path / "kafka-data" / "meta.properties").touch()
    # a Java that is not there would fail if it were asked
    Kafka().prepare(tmp_path, {"broker": 21_000, "controller": 21_001}, java=JAVA, jars=jars)
    assert "21000" in (tmp_path / "kafka.properties").read_text()
    assert Kafka().command(tmp_path, java=JAVA, jars=jars)[-2:] == ["kafka.Kafka", "kafka.properties"]


def test_a_failed_format_gives_the_tools_words(tmp_path: Path, jars: Path) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'no space left' >&2; exit 1\n")
    java.chmod(0o755)
    with pytest.raises(StackError, match=r"could not format its storage in .*kafka-data: no space left"):
        Kafka().prepare(tmp_path, {"broker": 21_000, "controller": 21_001}, java=java, jars=jars)


def testcluster_ids_are_kafkas_kind_and_differ() -> None:
    ids = {cluster_id() for _ in range(200)}
    assert len(ids) == 200
    assert all(len(text) == 22 and not text.startswith("-") for text in ids)


def test_the_pom_has_a_profile_with_a_pinned_version_for_each_server() -> None:
    names = {"m": "http://maven.apache.org/POM/4.0.0"}
    profiles = ElementTree.parse(POM).getroot().findall("m:profiles/m:profile", names)
    assert [profile.findtext("m:id", namespaces=names) for profile in profiles] == list(PROFILES)
    for profile in profiles:
        versions = [node.text for node in profile.findall(".//m:version", names)]
        assert versions
        assert all(version and version[0].isdigit() for version in versions)


def test_the_log_configurations_are_there() -> None:
    ElementTree.parse(CONFIG / "logback.xml")
    assert properties((CONFIG / "log4j2.properties").read_text())["rootLogger.appenderRef.out.ref"] == "OUT"
