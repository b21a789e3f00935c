"""The page of topics and messages, from `schemas` and `streams.kafka.topics`."""

import json
from collections.abc import Iterator
from typing import Any, Final

from confluent_kafka.admin import NewTopic

from deploy.docs import markdown
from deploy.docs.markdown import anchor, prose, table
from schemas.channels import CHANNELS, MESSAGES, Channel
from schemas.codec import FORMATS, decode
from schemas.documents import schema_documents
from schemas.errors import DecodeReason
from schemas.headers import CONTENT_TYPE
from streams.kafka.topics import wanted_topics
from streams.settings import Settings

INTRO = """\
All messages are JSON objects in UTF-8. Your applications write `clicks`, `browses`, `purchases`, `actions`,
`catalog` and `offers`, and read `recommendations`; all other topics belong to prefstream.

With the setting `namespace`, each topic has that prefix: `clicks` of the namespace `shop1` is `shop1.clicks`."""

CREATED = """\
`prefstream topics create` creates the topics that are missing, with `kafka.partitions` partitions (4 by default) and
`kafka.replication_factor` copies. A worker creates the topic of the item vectors of its encoder version if it is
missing. The table shows the topics as they are created with default settings."""

PARTITIONS = """\
The six inputs (`clicks`, `browses`, `purchases`, `actions`, `rerouted` and `profile-commands`) must have **one
partition count**, so that all records of a user reach one worker; a worker waits while the counts differ. `prefstream
topics grow N` grows all six in one request. Producers of the inputs choose the partition of a key as the setting
[`kafka.input_partitioner`](settings.md#kafka) says: by `murmur2` as the Java clients do, by `crc32` as librdkafka
does, or by `fnv1a` as Sarama does. An event on another partition is rerouted, and still counts once. All records of
an item must be on one partition of `catalog`; any partitioner of keys will do."""

GROUPS = """\
The workers of a namespace form one consumer group on the six inputs: `prefstream`, or `NAMESPACE.prefstream`. Each
encoder version has a group of its own on `catalog`, named after that group: `prefstream.catalog-VERSION`. Its members
share out the encoding of the items. Every worker reads all partitions of `offers`, `trending`, `encoders` and the item
vectors, without a group."""

REQUIRED = """\
**An event needs four fields**: {event}.
A purchase may hold the lines of an order in [`items`](#purchase) instead of `item_id`.

**An item needs two fields**: {item}.

All other fields are optional: leave out what you do not know, or send `null`.

- A record without a required field goes to [`dead-letters`](#dead-letters). So does a record in which a required field
  has the wrong type or is outside of its range. An optional field that is wrong is mended, cut or left out, costs only
  itself, and is counted by `prefstream_field_faults_total`.
- The key of an event's record is its `user_id`. The key of an item's record must name its `item_id`: a record of
  `catalog` with another key goes to `dead-letters`.
- Fields that are not in the tables are ignored. Releases only ever add fields.
- Integers are written without fraction or exponent.
- Times are UTC in **milliseconds**. Event times may also be in seconds, micro- or nanoseconds or in ISO 8601: the value
  tells. An event time before March 1973 is refused, and so is one more than
  [`profiles.max_future_s`](settings.md#profiles) after the Kafka timestamp of its record.
- An event is recognised by its `event_id`, its type and its set of items. A record that is sent again is recognised
  within the last [`profiles.duplicate_window`](settings.md#profiles) records of the user. So a click and a purchase
  may share an id, and so may records of one order.
- An item of which an encoder can use nothing has no vector and is not recommended."""

SCHEMAS = """\
The JSON Schema files `schemas/*.schema.json` and the AsyncAPI document `schemas/asyncapi.yaml` hold the same facts
for programs. `python -m schemas.generate` writes them from the message classes. Upper bounds of numbers from
2,147,483,647 on stand only there.

"Required" in the tables of messages that prefstream writes means that the field is always there."""

CONTENT_TYPES = """\
A record may say the format of its value in the header `{header}`. This release reads {types}, without a charset or
with `utf-8` or `us-ascii`. A record without the header is read as JSON. A record with another value of the header
goes to `dead-letters` with the reason `{refused}`."""

DEAD_LETTER = """\
A dead letter is the refused record, with its key and its value byte for byte, its own headers, and these headers.
Header values are UTF-8 text, numbers in decimal digits. How to look at dead letters and send them back is in [Repair
refused records](../how-to/repair-refused-records.md)."""

VERSION: Final = "VERSION"

WRITERS: Final = {
    "clicks": "your applications; `prefstream replay`, `console` and `dlq replay`",
    "browses": "your applications; `prefstream replay`, `console` and `dlq replay`",
    "purchases": "your applications; `prefstream replay`, `console` and `dlq replay`",
    "rerouted": "workers",
    "actions": "your applications; `dlq replay`",
    "profile-commands": "`prefstream profile forget` and `dlq replay`",
    "catalog": "your applications; `prefstream replay --catalog` and `dlq replay`",
    "offers": "your applications",
    "recommendations": "workers",
    "dead-letters": "workers",
    "trending": "workers",
    "encoders": "`prefstream encoders`",
    "item-vectors-{encoder_version}": "workers",
}
READERS: Final = {
    "clicks": "workers",
    "browses": "workers",
    "purchases": "workers",
    "rerouted": "workers",
    "actions": "workers",
    "profile-commands": "workers",
    "catalog": "workers; `prefstream console`, `profile show` and `encoders`",
    "offers": "workers",
    "recommendations": "your applications; `prefstream watch` and `console`",
    "dead-letters": "`prefstream dlq`",
    "trending": "workers",
    "encoders": "workers; `prefstream encoders` and `profile show`",
    "item-vectors-{encoder_version}": "workers; `prefstream profile show`",
}

REASONS: Final = {
    DecodeReason.NULL_VALUE: "The record has no value.",
    DecodeReason.MALFORMED: "The value is not JSON in UTF-8, or a header that has to be there is missing or broken.",
    DecodeReason.MISSING_FIELD: "A required field is missing.",
    DecodeReason.WRONG_TYPE: "A field has another type than the table says.",
    DecodeReason.OUT_OF_RANGE: "A value is outside of its range; an event time is before March 1973, or none.",
    DecodeReason.UNSUPPORTED_CONTENT_TYPE: f"The header `{CONTENT_TYPE}` names a format that prefstream does not read.",
    DecodeReason.TIME_IN_FUTURE: "The event time is more than `profiles.max_future_s` after the Kafka timestamp "
    "of the record, or of the record that was rerouted.",
    DecodeReason.TOO_LARGE: "The record is on another partition than its user's, and larger than "
    "`kafka.max_rerouted_bytes`.",
    DecodeReason.PROFILE_UNREADABLE: "The user's row in the store is broken, so the event can't be applied.",
    DecodeReason.PROFILE_NEWER: "A newer release wrote the user's row in the store. This worker can't read it.",
}

EXAMPLES: Final = {
    "click": """\
{"event_id": "e1", "user_id": "ann", "item_id": "tea-1", "event_time_ms": 1760000000000,
 "list": "search", "position": 3}""",
    "browse": """\
{"event_id": "e2", "user_id": "bob", "item_id": "pot-1", "event_time_ms": 1760000001000,
 "dwell_ms": 9000}""",
    "purchase": """\
{"event_id": "e3", "user_id": "ann", "item_id": "tea-2", "event_time_ms": 1760000002000,
 "items": [{"item_id": "tea-2", "price": 8.0, "currency": "EUR"}, {"item_id": "pot-1", "quantity": 2}]}""",
    "catalog-item": """\
{"item_id": "tea-1", "title": "Smoky Lapsang", "category": ["Tea", "Black"], "brand": "Leaf",
 "price": 9.5, "currency": "EUR"}""",
    "refund": """\
{"action": "refund", "event_id": "r1", "user_id": "ann", "item_id": "tea-2", "event_time_ms": 1760000004000}""",
    "cart-removal": """\
{"action": "cart_removal", "event_id": "r2", "user_id": "ann", "item_id": "pot-1", "event_time_ms": 1760000005000}""",
    "hide": """\
{"action": "hide", "event_id": "h1", "user_id": "ann", "item_id": "tea-1", "event_time_ms": 1760000006000,
 "until_ms": 1762600000000}""",
    "consent": """\
{"action": "consent", "event_id": "c1", "user_id": "ann", "given": true, "purpose": "marketing",
 "event_time_ms": 1760000007000}""",
    "impression": """\
{"action": "impression", "event_id": "i1", "user_id": "ann", "items": ["tea-1", "tea-2"], "placement": "home",
 "event_time_ms": 1760000008000}""",
    "offer": """\
{"item_id": "tea-1", "available": true, "availability": {"de": true, "at": false},
 "price": 8.5, "currency": "EUR"}""",
    "profile-command": """\
{"command": "forget", "user_id": "ann", "requested_ms": 1760000003000}""",
}
"""An example of each message that an application or a command writes."""

NOTES: Final = {
    "recommendation": """\
`kind` of a reason is the largest part of the score: `recent` (`recents` names the events: "because you looked at ..."),
`older` (everything before), `bonus`, `bias`, or `trending` for a user of unknown taste. Items of the kind `seen-again`
fill up a list that exclusions have left short: they come last, the one seen longest ago first. With a linear encoder
head (`exact: true`, the default) the parts add up to the score. The setting [`output.reasons`](settings.md#output)
shortens reasons: with `largest` each has its largest part, and `rest` is the sum of the others; with `none` there is
no `reason`. Recommendations are written at least once: of two for one
user, the one with the larger `revision` is the newer.""",
    "purchase": """\
An order with `items` is one record: it is refused as a whole, or its lines are applied together. The duplicate window
counts it once. Instead of `items`, a shop may send a record for each line, and such records may share the order's id as
`event_id`. Both ways count alike in the profile: a line is one purchase of its item, whatever its quantity.""",
    "offer": """\
A worker uses `available` alone: an item that is not available is in no list that is made from then on, whatever
`availability` says of regions. The other fields are for whoever makes lists for a region or a price. Every worker reads
every offer; so an offer that can't be read becomes no dead letter, is counted by `prefstream_offers_total`, and the
item's former offer holds on.""",
    "refund": """\
The item may be recommended again, if it was refunded at the time of its latest purchase or later, whichever record is
read first. The weight of a purchase is taken back from the older events of the user's taste. If the purchase is still
among the recents, it stays there until newer events push it out.""",
    "cart-removal": "The weight of a click is taken back from the older events of the user's taste.",
    "hide": """\
The item, or the items of the brand or category, are in no list of the user that is made before `until_ms`, by the time
of the user's latest event or action. A later record on the same item, brand or category replaces the hide: one with
`"until_ms": 0` shows it again. An item has the brand of its catalog record, and the first three names and the last of
its category path. A user can hide 256 items, and 256 brands and categories; the latest are kept.""",
    "consent": """\
The latest consent for each purpose is kept in the profile and shown by `prefstream profile show`. It changes no list
and stops no processing: whoever makes use of it has to ask for it.""",
    "impression": "Impressions are counted by `prefstream_actions_total` and change no profile.",
    "encoder-state": "`active_since_ms` decides: the version with the latest one is active.",
}


def page() -> str:
    """Return the text of the page."""
    documents = schema_documents()
    parts = [
        INTRO,
        "## Topics",
        _topics(),
        "## Partitions and retention",
        CREATED,
        _configurations(),
        PARTITIONS,
        GROUPS,
        "## What a record must have",
        _required(documents),
        SCHEMAS,
    ]
    for name in MESSAGES:
        parts += _message(name, documents[f"{name}.schema.json"])
    parts += ["## Headers", "### Content type", _content_types(), "### Dead letters", DEAD_LETTER]
    parts += [_fields(documents["dead-letter.schema.json"], "header"), _reasons()]
    parts += ["### Rerouted events", _text(documents["rerouted.schema.json"])]
    parts.append(_fields(documents["rerouted.schema.json"], "header"))
    return markdown.page("Topics and messages", *parts)


def _name(channel: Channel) -> str:
    return channel.topic.replace("{encoder_version}", VERSION)


def _topics() -> str:
    rows = [
        (
            f"`{_name(channel)}`",
            _message_links(channel),
            _key(channel),
            WRITERS[channel.topic],
            READERS[channel.topic],
        )
        for channel in CHANNELS
    ]
    return table(("topic", "messages", "key", "who writes", "who reads"), rows)


def _configurations() -> str:
    wanted = {topic.topic: topic for topic in wanted_topics(Settings.model_construct(), VERSION)}
    assert wanted.keys() == {_name(channel) for channel in CHANNELS}
    rows = [
        (
            f"`{_name(channel)}`",
            f"{wanted[_name(channel)].num_partitions}{', as all inputs' if channel.is_input else ''}",
            _policy(wanted[_name(channel)]),
            _retention(wanted[_name(channel)]),
            channel.tombstones or ("refused" if channel.is_input else ""),
        )
        for channel in CHANNELS
    ]
    return table(("topic", "partitions", "clean-up", "retention", "a record without a value"), rows)


def _config(topic: NewTopic) -> dict[str, str]:
    return {str(name): str(value) for name, value in (topic.config or {}).items()}


def _policy(topic: NewTopic) -> str:
    return _config(topic).get("cleanup.policy", "delete")


def _retention(topic: NewTopic) -> str:
    if _policy(topic) == "compact":
        return "the last record of each key"
    hours = int(_config(topic)["retention.ms"]) / 3_600_000
    kept = f"`kafka.input_retention_h` ({hours:g} hours)"
    largest = int(_config(topic).get("max.message.bytes", 0))
    return f"{kept}; records of up to {largest >> 20} MiB" if largest else kept


def _key(channel: Channel) -> str:
    return prose(channel.key.partition(",")[0].partition(";")[0].removeprefix("The ").removesuffix("."))


def _message_links(channel: Channel) -> str:
    links = [f"[{name}](#{anchor(name)})" for name in channel.messages]
    if channel.headers:
        title = {"dead-letter": "Dead letters", "rerouted": "Rerouted events"}[channel.headers]
        links.append(f"with [headers](#{anchor(title)})" if links else f"[any bytes](#{anchor(title)})")
    return ", ".join(links)


def _required(documents: dict[str, Any]) -> str:
    (event,) = {tuple(documents[f"{name}.schema.json"]["required"]) for name in ("click", "browse")}
    item = documents["catalog-item.schema.json"]["required"]
    assert (len(event), len(item)) == (4, 2)
    names = [", ".join(f"`{name}`" for name in fields[:-1]) + f" and `{fields[-1]}`" for fields in (event, item)]
    return REQUIRED.format(event=names[0], item=names[1])


def _content_types() -> str:
    types = ", ".join(f"`{name}`" for name in FORMATS)
    return CONTENT_TYPES.format(header=CONTENT_TYPE, types=types, refused=DecodeReason.UNSUPPORTED_CONTENT_TYPE.value)


def _reasons() -> str:
    return table(("reason", "meaning"), [(f"`{reason.value}`", REASONS[reason]) for reason in DecodeReason])


def _message(name: str, schema: dict[str, Any]) -> Iterator[str]:
    topics = [f"`{_name(channel)}`" for channel in CHANNELS if name in channel.messages]
    yield f"## {name}"
    yield f"{_text(schema)} On {' and '.join(topics)}."
    yield _fields(schema)
    for title, part in schema.get("$defs", {}).items():
        yield f"### {title}"
        yield _text(part)
        yield _fields(part)
    if name in NOTES:
        yield NOTES[name]
    if name in EXAMPLES:
        decode(MESSAGES[name], EXAMPLES[name].encode())  # raises if the example is wrong
        yield f"```json\n{EXAMPLES[name]}\n```"


def _text(schema: dict[str, Any]) -> str:
    return prose(schema["description"])


def _fields(schema: dict[str, Any], kind: str = "field") -> str:
    rows = [
        (f"`{name}`", _type(body), _needed(name, body, schema), prose(_meaning(body)))
        for name, body in schema["properties"].items()
    ]
    return table((kind, "type", "needed", "meaning"), rows)


def _options(body: dict[str, Any]) -> list[dict[str, Any]]:
    return [option for option in body.get("anyOf", [body]) if option.get("type") != "null"]


def _meaning(body: dict[str, Any]) -> str:
    (option,) = _options(body)
    return str(body.get("description") or option.get("description") or "")


def _needed(name: str, body: dict[str, Any], schema: dict[str, Any]) -> str:
    if name in schema["required"]:
        return "**required**"
    either = [option["required"][0] for option in schema.get("anyOf", ())]
    if name in either:
        others = " or ".join(f"`{other}`" for other in either if other != name)
        return f"**required**, or {others}"
    default = body.get("default")
    return "optional" if default in (None, "", [], {}) else f"optional; {json.dumps(default)}"


def _type(body: dict[str, Any]) -> str:
    """Return the type of a field in words, from its JSON Schema."""
    (option,) = _options(body)
    if "$ref" in option:
        title = option["$ref"].rpartition("/")[2]
        kind = f"[{title}](#{anchor(title)})"
    elif "enum" in option:
        kind = " or ".join(f"`{value}`" for value in option["enum"])
    else:
        kind = _KINDS[option["type"]](option)
    return f"{kind}, or null" if "anyOf" in body else kind


def _string(body: dict[str, Any]) -> str:
    if body.get("contentEncoding") == "base64":
        return "bytes, in base64"
    if "pattern" in body:
        return f"text, `{body['pattern']}`"
    return "text" + _between(body.get("minLength"), body.get("maxLength"), "characters")


def _number(body: dict[str, Any], name: str) -> str:
    low, high = (
        None if bound is None or abs(bound) >= _LARGE else bound for bound in (body.get("minimum"), body.get("maximum"))
    )
    above = body.get("exclusiveMinimum")
    return name + (_between(low, high) if above is None else f", above {above:g}")


def _array(body: dict[str, Any]) -> str:
    if "prefixItems" in body:
        return f"pair ({'; '.join(_type(part) for part in body['prefixItems'])})"
    most = f"up to {body['maxItems']:,}" if "maxItems" in body else "any number"
    return f"list, {most} of ({_type(body['items'])})"


def _object(body: dict[str, Any]) -> str:
    return f"object, up to {body['maxProperties']:,} names with values of ({_type(body['additionalProperties'])})"


_LARGE = 2**31 - 1
"""Bounds from here on only keep numbers out that no computer language reads alike; they are not shown."""

_KINDS = {
    "string": _string,
    "integer": lambda body: _number(body, "integer"),
    "number": lambda body: _number(body, "number"),
    "boolean": lambda _: "true or false",
    "array": _array,
    "object": _object,
}


def _between(low: float | None, high: float | None, unit: str = "") -> str:
    """Return a range in words.

    >>> _between(0, None), _between(1, 256, "characters"), _between(None, None)
    (', 0 or more', ', 1 to 256 characters', '')
    """
    if high is None:
        return "" if low is None else f", {low:,.0f} or more"
    return f", up to {high:,} {unit}".rstrip() if low is None else f", {low:,.0f} to {high:,.0f} {unit}".rstrip()
