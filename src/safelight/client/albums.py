"""Albums, whom they are lent to, and links to them. A room of the client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from safelight.client.documents import Album, Grant, Link
from safelight.client.wire import PAGE, Connection, said, segment


class Albums(Connection):
    """`/albums`, with their grants and links."""

    def albums(self, *, shared: bool = False) -> Iterator[Album]:
        """Your albums, newest first; `shared`: those that others have lent to you."""
        cursor: str | None = None
        while True:
            page = self._ask("GET", "/albums", params=said({"limit": PAGE, "cursor": cursor, "shared": shared or None}))
            yield from page["albums"]
            cursor = page["next"]
            if cursor is None:
                return

    def add_album(self, title: str, *, description: str = "") -> Album:
        """A new, empty album."""
        return cast("Album", self._ask("POST", "/albums", json={"title": title, "description": description}))

    def album_grants(self, album_id: str) -> Sequence[Grant]:
        """Whom an album is lent to, oldest first. Raises Missing."""
        return cast("Sequence[Grant]", self._ask("GET", f"/albums/{segment(album_id)}/grants"))

    def share_album(
        self, album_id: str, user_id: str, *, level: str = "view", originals: bool = False, expires_at: str | None = None
    ) -> Grant:
        """Let a user of your tenant see an album, or with the level contribute put images into it. Raises Missing, BadField."""
        body = {"level": level, "originals": originals, "expires_at": expires_at}
        return cast("Grant", self._ask("PUT", f"/albums/{segment(album_id)}/grants/{segment(user_id)}", json=body))

    def unshare_album(self, album_id: str, user_id: str) -> None:
        """Take it back. Raises Missing."""
        self._ask("DELETE", f"/albums/{segment(album_id)}/grants/{segment(user_id)}")

    def album_links(self, album_id: str) -> Sequence[Link]:
        """An album's links, newest first, without their tokens. Raises Missing."""
        return cast("Sequence[Link]", self._ask("GET", f"/albums/{segment(album_id)}/links"))

    def add_link(self, album_id: str, *, expires_at: str, password: str = "", originals: bool = False, note: str = "") -> Link:
        """A link to an album, until a time (RFC 3339); its address is known only now. Raises Missing, BadField, Conflict."""
        body = {"expires_at": expires_at, "password": password, "originals": originals, "note": note}
        return cast("Link", self._ask("POST", f"/albums/{segment(album_id)}/links", json=body))

    def remove_link(self, album_id: str, link_id: str) -> None:
        """Let a link lead nowhere. Raises Missing."""
        self._ask("DELETE", f"/albums/{segment(album_id)}/links/{segment(link_id)}")
