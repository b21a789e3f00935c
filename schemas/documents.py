"""The JSON Schemas of the messages and the AsyncAPI document of the topics, as plain data."""

from typing import Any, Final

import msgspec

from schemas.channels import CHANNELS, HEADER_SETS, MESSAGES, Channel
from schemas.events import Purchase
from schemas.headers import CONTENT_TYPE, JSON_CONTENT_TYPE

Document = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
KAFKA_BINDING: Final = "0.5.0"
VERSION_PARAMETER: Final = "encoder_version"
DESCRIPTION: Final = (
    "Events of a shop's users come in; refreshed recommendations go out, milliseconds later. With the setting "
    "namespace, every topic, such as clicks, is named after it: shop1.clicks. Messages are JSON objects in UTF-8. "
    "Readers ignore fields that they don't know, and fields are only ever added. A field that may be null may also be "
    "left out. Integers are written without fraction or exponent. Records that can't be read go to dead-letters."
)


def schema_documents() -> dict[str, Document]:
    """A JSON Schema for each message and each set of headers, by file name."""
    documents = {name: _schema(name, message) for name, message in MESSAGES.items()}
    for name, (message, header_of) in HEADER_SETS.items():
        documents[name] = _as_headers(_schema(name, message), header_of)
    return {f"{name}.schema.json": document for name, document in documents.items()}


def asyncapi_document() -> Document:
    """The topics as AsyncAPI 3.0 channels, seen from a worker. Payloads refer to the schema files beside it."""
    operations = {}
    for channel in CHANNELS:
        for action in channel.actions:
            reference = {"$ref": f"#/channels/{_id(channel.topic)}"}
            operations[f"{action}-{_id(channel.topic)}"] = {"action": action, "channel": reference}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "prefstream",
            "version": "0.1.0",
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": JSON_CONTENT_TYPE,
        "channels": {_id(channel.topic): _channel(channel) for channel in CHANNELS},
        "operations": operations,
        "components": {"messages": _messages()},
    }


def _schema(name: str, message: type[msgspec.Struct]) -> Document:
    (_,), definitions = msgspec.json.schema_components([message], ref_template="#/$defs/{name}")
    body = definitions.pop(message.__name__)
    if message is Purchase:
        body = _with_item_or_items(body)
    document = {"$schema": DIALECT, "$id": f"urn:prefstream:{name}", **body}
    return {**document, "$defs": definitions} if definitions else document


def _with_item_or_items(body: Document) -> Document:
    """Require one of two fields, as `Purchase` does; its default of ``item_id`` is no value that a record may have."""
    item = {key: value for key, value in body["properties"]["item_id"].items() if key != "default"}
    either = [{"required": ["item_id"]}, {"required": ["items"], "properties": {"items": {"type": "array"}}}]
    return {**body, "properties": {**body["properties"], "item_id": item}, "anyOf": either}


def _as_headers(schema: Document, header_of: dict[str, str]) -> Document:
    properties = {header_of[field]: _without_null(body) for field, body in schema["properties"].items()}
    required = [header_of[field] for field in schema["required"]]
    note = "Kafka headers, as UTF-8 text; numbers in decimal digits."
    description = f"{schema['description']} {note}"
    return {**schema, "description": description, "properties": properties, "required": required}


def _without_null(body: Document) -> Document:
    """Schema of a header: it is left out where the field is null."""
    if "anyOf" not in body:
        return {key: value for key, value in body.items() if key != "default"}
    (only,) = [option for option in body["anyOf"] if option != {"type": "null"}]
    return dict(only)


def _id(topic: str) -> str:
    return topic.removesuffix(f"-{{{VERSION_PARAMETER}}}")


def _message_names(channel: Channel) -> list[str]:
    names = [f"{channel.headers}-{name}" if channel.headers else name for name in channel.messages]
    if not channel.messages:
        names.append(str(channel.headers))
    if channel.tombstones:
        names.append(f"{_id(channel.topic)}-tombstone")
    return names


def _channel(channel: Channel) -> Document:
    partitions = " It has as many partitions as the other input topics." if channel.is_input else ""
    parameters = {
        VERSION_PARAMETER: {
            "description": "Version of the encoder that made the vectors; each version has its own topic."
        }
    }
    return {
        "address": channel.topic,
        "description": f"{channel.summary}{partitions} Key: {channel.key}",
        **({"parameters": parameters} if f"{{{VERSION_PARAMETER}}}" in channel.topic else {}),
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _message_names(channel)},
        "bindings": {
            "kafka": {
                "topicConfiguration": {"cleanup.policy": ["compact" if channel.compacted else "delete"]},
                "bindingVersion": KAFKA_BINDING,
            }
        },
    }


def _messages() -> Document:
    messages: Document = {}
    for channel in CHANNELS:
        base = {
            "headers": _headers(channel),
            "bindings": {"kafka": {"key": _key(channel), "bindingVersion": KAFKA_BINDING}},
        }
        payloads = [{"$ref": f"./{name}.schema.json"} for name in channel.messages]
        for name, payload in zip(_message_names(channel), payloads, strict=False):
            messages[name] = {"name": name, "contentType": JSON_CONTENT_TYPE, **base, "payload": payload}
        if not channel.messages:
            name = str(channel.headers)
            payload = {"description": "The value of the refused record, byte for byte; it may have none."}
            messages[name] = {"name": name, "contentType": "application/octet-stream", **base, "payload": payload}
        if channel.tombstones:
            name = f"{_id(channel.topic)}-tombstone"
            payload = {"type": "null", "description": f"A record without a value. {channel.tombstones}"}
            messages[name] = {"name": name, **base, "payload": payload}
    return messages


def _key(channel: Channel) -> Document:
    return {"type": "string", "description": channel.key}


def _headers(channel: Channel) -> Document:
    if channel.headers:
        return {"$ref": f"./{channel.headers}.schema.json"}
    described = f"Media type of the value, as UTF-8 text. This release reads {JSON_CONTENT_TYPE}; without it, JSON."
    return {"type": "object", "properties": {CONTENT_TYPE: {"type": "string", "description": described}}}
