"""Naming: what somebody means who gives an id, or a name in its place. For every command that takes either."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from safelight.domain.ids import is_id
from safelight.errors import Conflict, Missing

if TYPE_CHECKING:
    from safelight.client import Client, User

Record = TypeVar("Record", bound=Mapping[str, object])


def the_one(found: Sequence[Record], name: str, noun: str) -> Record:
    """The only one of those with this id or name. Raises Missing, and Conflict with the ids where several have the name."""
    if not found:
        raise Missing(f"There is no {noun} called {name!r}.")
    if len(found) > 1:
        ids = ", ".join(sorted(str(each["id"]) for each in found))
        raise Conflict(f"{len(found)} {noun}s are called {name!r}; give the id of one: {ids}.")
    return found[0]


def user(client: Client, name: str) -> User:
    """The user with this id or name, as admins see them. Raises as `the_one`, Forbidden for who is no admin."""
    return the_one([each for each in client.users() if name in (each["id"], each["name"])], name, "user")


def user_id(client: Client, name: str) -> str:
    """The id of a user; an id is taken as it is, since only admins may look users up. Raises as `the_one`."""
    return name if is_id(name) else user(client, name)["id"]


def album_id(client: Client, name: str, *, make: bool = False) -> str:
    """The id of an album; `make` makes one of this title when there is none. Raises as `the_one`."""
    found = [album for album in client.albums() if name in (album["id"], album["title"])]
    if make and not found:
        return client.add_album(name)["id"]
    return the_one(found, name, "album")["id"]
