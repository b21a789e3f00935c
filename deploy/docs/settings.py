"""The page of settings: a table for each section, from `streams.settings`."""

import functools
import json
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from deploy.docs import markdown
from deploy.docs.markdown import anchor, prose, table
from streams.settings import CONFIG_VARIABLE, DEFAULT_CONFIG, ENV_PREFIX, Settings

INTRO = f"""\
Every setting has a default; only `kafka.sasl`, where it is given, needs a user and a password. Without any settings a
worker starts a simulated broker in its process and keeps the profiles in a SQLite file.

The settings come from a TOML file. prefstream takes the first of these:

1. the file that the option `--config` names (before the command: `prefstream --config FILE worker`);
2. the file that the environment variable `{CONFIG_VARIABLE}` names;
3. `./{DEFAULT_CONFIG}`, if there is such a file.

```toml
namespace = "shop1"

[kafka]
bootstrap_servers = "kafka-1:9092,kafka-2:9092"

[ranking]
k = 50
trending_weights = {{ purchase = 6.0 }}
```

An environment variable replaces the value of the file. Its name is `{ENV_PREFIX}`, then the name of the setting in
capitals with two underscores for each dot. The value of a list is JSON, such as
`PREFSTREAM_STORE__CASSANDRA__HOSTS='["cassandra-1", "cassandra-2"]'`. The option `--broker` replaces
`kafka.bootstrap_servers`, and the option `--port` of `prefstream worker` replaces `server.port`.

A setting that is wrong or unknown ends the command: the message names the setting and says what was expected.
Relative paths start at the folder in which the command runs. How to connect to servers of your own is in
[Use your own servers](../how-to/use-your-own-servers.md)."""

RULES = """\
## Rules between settings

- `kafka.heartbeat_interval_s` is at most half of `kafka.session_timeout_s`.
- `cert_file` and `key_file` of a `tls` section come together. All files that a `tls` section names must exist.
- A `store.cassandra.consistency` below `LOCAL_QUORUM` is refused if the keyspace keeps more than one copy of a row."""


class Setting(NamedTuple):
    """A row of a table."""

    name: str
    default: str
    meaning: str

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENV_PREFIX + self.name.upper().replace(".", "__")


class Section(NamedTuple):
    """A table of the TOML file."""

    name: str
    text: str
    settings: list[Setting]


def sections() -> list[Section]:
    """Return all sections, in the order of the settings; the first holds the settings outside of any table."""
    return list(_sections(Settings, "", "Settings that stand above the first table of the file."))


def _sections(model: type[BaseModel], prefix: str, text: str) -> Iterator[Section]:
    own, below = [], []
    for name, info in model.model_fields.items():
        section = _section_class(info.annotation)
        if section is None:
            own.append(Setting(f"{prefix}{name}", _default(info), _meaning(info)))
        else:
            below.append((f"{prefix}{name}", section))
    yield Section(prefix.rstrip("."), text, own)
    for name, section in below:
        yield from _sections(section, f"{name}.", section.__doc__ or "")


def _section_class(annotation: Any) -> type[BaseModel] | None:
    for option in (annotation, *get_args(annotation)):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def _default(info: FieldInfo) -> str:
    value = info.default
    if value is PydanticUndefined:
        return "(needed)"
    if value is None:
        return "(none)"
    return f"`{json.dumps(value, default=str)}`"


def _meaning(info: FieldInfo) -> str:
    options = [str(option) for option in get_args(info.annotation)] if get_origin(info.annotation) is Literal else []
    allowed = f"One of {', '.join(f'`{option}`' for option in options)}." if options else _range(info)
    return " ".join(part for part in (info.description or "", allowed) if part)


def _range(info: FieldInfo) -> str:
    """Return the allowed numbers as a sentence, or nothing."""
    bounds = {name: getattr(part, name) for part in info.metadata for name in ("gt", "ge", "le") if hasattr(part, name)}
    bounds = {name: f"{bound:,}" for name, bound in bounds.items() if bound is not None}
    if {"ge", "le"} <= bounds.keys():
        return f"{bounds['ge']} to {bounds['le']}."
    words = {"gt": "above {}", "ge": "at least {}", "le": "at most {}"}
    return (
        f"{' and '.join(words[name].format(bound) for name, bound in bounds.items())}.".capitalize() if bounds else ""
    )


def link(name: str) -> str | None:
    """Return the address of a setting for a page of the reference; None if there is no such setting."""
    return _links().get(name)


@functools.cache
def _links() -> dict[str, str]:
    links: dict[str, str] = {}
    for section in sections():
        address = f"settings.md#{anchor(_title(section))}"
        links |= {setting.name: address for setting in section.settings if "." in setting.name}
        links |= {section.name: address} if section.name else {}
    return links


def _title(section: Section) -> str:
    return f"`{section.name}`" if section.name else "Top level"


def page() -> str:
    """Return the text of the page."""
    parts = [INTRO]
    for section in sections():
        parts.append(f"## {_title(section)}\n\n{prose(section.text)}")
        if section.settings:
            rows = [
                (f"`{setting.name}`<br>`{setting.variable}`", setting.default, prose(setting.meaning))
                for setting in section.settings
            ]
            parts.append(table(("setting<br>environment variable", "default", "meaning"), rows))
    return markdown.page("Settings", *parts, RULES)
