"""Commands of an operator about users' profiles."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from schemas.fields import TimeMs, UserId


class ProfileCommand(Struct, kw_only=True, frozen=True, gc=False):
    """A command about one user's profile, carried out by the worker that owns it."""

    command: Annotated[
        Literal["forget"], Meta(description="forget: delete the profile and tombstone the user's recommendations.")
    ]
    user_id: UserId
    requested_ms: Annotated[
        TimeMs, Meta(description="When the command was given, in milliseconds since 1970-01-01 UTC.")
    ]
