"""TLS and SASL settings reach the clients under the clients' own names."""

from pathlib import Path

import pytest
from confluent_kafka import Producer

from streams.fetch.faust_settings import faust_options
from streams.kafka.clients import BrokerUnavailable, check_broker, client_config, make_admin, make_producer
from streams.settings import Kafka, Sasl, Settings, Tls
from streams.stores.open_store import cassandra_options


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    path = tmp_path / "some.pem"
    path.write_text("")
    return path


def test_plain_by_default() -> None:
    assert client_config(Kafka(bootstrap_servers="b:1"))["security.protocol"] == "PLAINTEXT"
    assert "broker_credentials" not in faust_options(Kafka(bootstrap_servers="b:1"))


def test_tls_and_sasl_reach_librdkafka(pem: Path) -> None:
    tls = Tls(enabled=True, ca_file=pem, cert_file=pem, key_file=pem, verify_hostname=False)
    config = client_config(Kafka(bootstrap_servers="b:1", tls=tls, sasl=Sasl(username="me", password="secret")))
    assert config["security.protocol"] == "SASL_SSL"
    assert config["ssl.ca.location"] == config["ssl.certificate.location"] == config["ssl.key.location"] == str(pem)
    assert config["ssl.endpoint.identification.algorithm"] == "none"
    assert (config["sasl.mechanism"], config["sasl.username"], config["sasl.password"]) == (
        "SCRAM-SHA-512",
        "me",
        "secret",
    )


def test_sasl_reaches_faust() -> None:
    options = faust_options(Kafka(bootstrap_servers="a:1, b:2", sasl=Sasl(username="me", password="secret")))
    assert options["broker"] == ["kafkabatch://a:1", "kafkabatch://b:2"]
    credentials = options["broker_credentials"]
    assert (credentials.username, credentials.password, credentials.mechanism.value) == (
        "me",
        "secret",
        "SCRAM-SHA-512",
    )


def test_tls_reaches_faust() -> None:
    credentials = faust_options(Kafka(bootstrap_servers="a:1", tls=Tls(enabled=True)))["broker_credentials"]
    assert credentials.context.check_hostname


def test_tls_and_log_in_reach_cassandra(pem: Path) -> None:
    settings = Settings.model_validate(
        {
            "store": {
                "kind": "cassandra",
                "cassandra": {"username": "me", "password": "secret", "tls": {"enabled": True, "ca_file": str(pem)}},
            }
        }
    )
    options = cassandra_options(settings)
    assert (options.username, options.password, options.tls.ca_file) == ("me", "secret", str(pem))


def test_a_secret_is_not_shown() -> None:
    assert "secret" not in repr(Kafka(sasl=Sasl(username="me", password="secret")))


@pytest.mark.parametrize(("partitioner", "expected"), [("murmur2", "murmur2_random"), ("crc32", "consistent_random")])
def test_the_producer_hashes_as_the_inputs_do(monkeypatch: pytest.MonkeyPatch, partitioner: str, expected: str) -> None:
    made: list[dict[str, object]] = []

    def record(config: dict[str, object], **_: object) -> Producer:
        made.append(config)
        return Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})

    monkeypatch.setattr("streams.kafka.clients.Producer", record)
    make_producer(Kafka(bootstrap_servers="b:1", input_partitioner=partitioner))  # type: ignore[arg-type]
    assert made[0]["partitioner"] == expected
    assert made[0]["enable.idempotence"] is True


def test_a_broker_that_is_down_is_named() -> None:
    kafka = Kafka(bootstrap_servers="127.0.0.1:1")
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1 .*prefstream stack up"):
        check_broker(make_admin(kafka), kafka, timeout_s=0.5)
