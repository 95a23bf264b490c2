"""Which server a command talks to, and with which key. Used by every command that needs a server; reads no setting of one."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal
from urllib.parse import urlsplit

from cyclopts import Group, Parameter

from safelight.cli import WrongUsage
from safelight.errors import Unauthenticated

if TYPE_CHECKING:
    from safelight.client import Client

DEFAULT_URL: Final = "http://127.0.0.1:8000"
DEFAULT_DATA_DIR: Final = Path("safelight-data")
KEY_FILE: Final = "admin.key"
SERVER: Final = Group("Server", sort_key=10)

Json = Annotated[bool, Parameter(help="Print the result as JSON, one document on each line, and nothing else.")]
Visibility = Literal["private", "unlisted", "public"]


@Parameter(name="*", group=SERVER)
@dataclass(frozen=True, slots=True)
class Server:
    """Where the server is and who asks.

    Parameters
    ----------
    url
        Address of the server.
    api_key
        API key. Better given by the environment: other users of this machine can read a command line. Without one, a server
        on this machine is asked with the key that its first start left in the data directory.
    data_dir
        Data directory of a server on this machine, for the key in it. Default: ./safelight-data.

    """

    url: Annotated[str, Parameter(env_var="SAFELIGHT_URL")] = DEFAULT_URL
    api_key: Annotated[str | None, Parameter(env_var="SAFELIGHT_API_KEY", show_default=False)] = None
    data_dir: Annotated[Path | None, Parameter(env_var="SAFELIGHT_DATA_DIR", show_default=False)] = None

    @property
    def key(self) -> str:
        """The API key to use. Raises Unauthenticated with what to do when there is none."""
        if self.api_key:
            return self.api_key.strip()
        if self.data_dir is None and not _is_here(self.url):
            # The key of an installation that happens to lie in the working directory is nobody else's business.
            raise Unauthenticated(f"No API key for {self.url}; give one by SAFELIGHT_API_KEY or --api-key.")
        path = (self.data_dir or DEFAULT_DATA_DIR) / KEY_FILE
        try:
            key = path.read_text("ascii").strip()
        except FileNotFoundError:
            key = ""
        except (OSError, UnicodeDecodeError) as error:
            raise Unauthenticated(f"The API key in {path} cannot be read: {error}.") from None
        if not key:
            raise Unauthenticated(
                f"No API key. Give one by SAFELIGHT_API_KEY or --api-key, or name by --data-dir the data directory of a server on"
                f" this machine ({path} does not exist). A new server, with its first key: `safelight serve`."
            )
        return key

    def connect(self) -> Client:
        """A client of this server; nothing is sent yet. Raises Unauthenticated, BadField."""
        from safelight.client import Client

        if not self.url.startswith(("http://", "https://")):
            raise WrongUsage(f"{self.url!r} is not the address of a server; write http://… or https://…", field="url")
        return Client(self.url, self.key, advice=how_to_reach(self.url))


HERE: Final = Server()
"""What the environment and the working directory say."""


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")  # RFC 6761 section 6.3


def how_to_reach(url: str) -> str:
    """What to do about a server that does not answer."""
    if url == DEFAULT_URL:
        return "Start one with `safelight serve`, or name another by --url or SAFELIGHT_URL."
    if _is_here(url):
        return f"Start it with `safelight serve --port {urlsplit(url).port or 80}`, or name another by --url or SAFELIGHT_URL."
    return "Check the address (--url or SAFELIGHT_URL) and the network."
