"""Translates prefstream's Kafka settings into Faust's."""

import ssl
from typing import Any

import faust

from streams.settings import Kafka


def faust_options(kafka: Kafka) -> dict[str, Any]:
    """Return Faust's settings for the consumer of the consumer group."""
    servers = [server.strip() for server in kafka.bootstrap_servers.split(",")]
    options: dict[str, Any] = {
        "broker": [f"kafkabatch://{server}" for server in servers],
        "broker_client_id": "prefstream",
        "broker_session_timeout": kafka.session_timeout_s,
        "broker_heartbeat_interval": kafka.heartbeat_interval_s,
        "broker_request_timeout": max(40.0, kafka.session_timeout_s),
        "consumer_metadata_max_age_ms": int(kafka.metadata_max_age_s * 1000),
        "consumer_max_fetch_size": kafka.max_fetch_bytes,
        "consumer_auto_offset_reset": "earliest",
        "producer_metadata_max_age_ms": int(kafka.metadata_max_age_s * 1000),
    }
    context = _ssl_context(kafka) if kafka.tls.enabled else None
    if kafka.sasl:
        options["broker_credentials"] = faust.SASLCredentials(
            username=kafka.sasl.username,
            password=kafka.sasl.password.get_secret_value(),
            mechanism=kafka.sasl.mechanism,
            ssl_context=context,
        )
    elif context is not None:
        options["broker_credentials"] = faust.SSLCredentials(context)
    return options


def _ssl_context(kafka: Kafka) -> ssl.SSLContext:
    tls = kafka.tls
    context = ssl.create_default_context(cafile=None if tls.ca_file is None else str(tls.ca_file))
    if tls.cert_file is not None and tls.key_file is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    context.check_hostname = tls.verify_hostname
    return context
