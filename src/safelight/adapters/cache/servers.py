"""Servers: one Valkey, or a cluster of them, asked for keys that may lie on different machines. Called by ValkeyCache alone.

A cluster keeps a key on the machine that its name leads to. Whatever is asked for several keys is therefore one command a key there,
each machine's sent to it together and to all machines at once; a script names one key. Nothing needs them to be asked at one moment:
a value is believed by what was read after the question began.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from valkey.asyncio import BlockingConnectionPool, Valkey, ValkeyCluster
from valkey.asyncio.retry import Retry
from valkey.backoff import NoBackoff
from valkey.exceptions import ConnectionError, NoScriptError, ResponseError  # noqa: A004 (the driver's)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Whom to believe, and how to prove who we are: PEM files. Without `ca`, whom the system trusts."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def arguments(self) -> dict[str, Any]:
        """What the driver calls them. A name that is not in the certificate is refused, which the driver does not do by itself."""
        files = {"ssl_ca_certs": self.ca, "ssl_certfile": self.certificate, "ssl_keyfile": self.key}
        return {
            "ssl_check_hostname": True,
            "ssl_min_version": ssl.TLSVersion.TLSv1_2,
            **{name: str(path) for name, path in files.items() if path is not None},
        }


class Script:
    """Lua over one key; its text travels once a server."""

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self.sha: Final = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class About:
    """`version` as `Valkey 8.1.4`; empty where the server does not let us ask."""

    is_cluster: bool
    version: str = ""

    @classmethod
    def told(cls, info: Mapping[str, Any]) -> About:
        """By INFO. Redis has a version of its own; Valkey tells one of Redis's too, for who expects that."""
        name, version = (
            ("Valkey", info["valkey_version"]) if "valkey_version" in info else ("Redis", info.get("redis_version", ""))
        )
        return cls(bool(info.get("cluster_enabled")), f"{name} {version}".strip())


class Servers(Protocol):
    """Every method raises what the driver raises."""

    async def ping(self) -> None:
        """Ask whoever keeps keys."""
        ...

    async def about(self) -> About:
        """What answers, by its own words."""
        ...

    async def values(self, names: Sequence[str]) -> list[bytes | None]:
        """What lies under these keys."""
        ...

    async def made(self, values: Sequence[tuple[str, bytes]], *, ttl_s: int) -> list[bytes | None]:
        """What lies under these keys now that each has been put where there was nothing."""
        ...

    async def put(self, name: str, value: bytes, *, ttl_ms: int) -> None:
        """One key."""
        ...

    async def remove(self, names: Sequence[str]) -> None:
        """These keys."""
        ...

    async def run(self, script: Script, name: str, words: Sequence[Any]) -> Any:
        """What the script answers."""
        ...

    async def renew(self) -> None:
        """Forget connections that may be broken."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...


def _common(url: str, tls: Tls) -> dict[str, Any]:
    return {
        # Once more for a connection that the server has closed meanwhile; every command may be repeated.
        "retry": Retry(NoBackoff(), 1),
        "retry_on_error": [ConnectionError],
        "socket_keepalive": True,
        **(tls.arguments() if url.startswith("valkeys://") else {}),
    }


async def _run(client: Any, script: Script, name: str, words: Sequence[Any]) -> Any:
    try:
        return await client.evalsha(script.sha, 1, name, *words)
    except NoScriptError:
        return await client.eval(script.text, 1, name, *words)


class OneServer:
    """Keeps Servers. Several keys are one command."""

    def __init__(self, url: str, *, tls: Tls, deadline_s: float, connections: int) -> None:
        self._pool: Final = BlockingConnectionPool.from_url(
            url, max_connections=connections, timeout=deadline_s, **_common(url, tls)
        )
        self._client: Final = Valkey(connection_pool=self._pool)

    async def ping(self) -> None:
        """It."""
        await self._client.ping()

    async def about(self) -> About:
        """As it says; one that does not let us ask is taken for no cluster."""
        with contextlib.suppress(ResponseError):
            return About.told(await self._client.info())
        return About(is_cluster=False)

    async def values(self, names: Sequence[str]) -> list[bytes | None]:
        """MGET."""
        found: list[bytes | None] = await self._client.mget(names)
        return found

    async def made(self, values: Sequence[tuple[str, bytes]], *, ttl_s: int) -> list[bytes | None]:
        """One trip."""
        pipeline = self._client.pipeline(transaction=False)
        for name, value in values:
            pipeline.set(name, value, nx=True, ex=ttl_s)
        pipeline.mget([name for name, _ in values])
        found: list[bytes | None] = (await pipeline.execute())[-1]
        return found

    async def put(self, name: str, value: bytes, *, ttl_ms: int) -> None:
        """SET."""
        await self._client.set(name, value, px=ttl_ms)

    async def remove(self, names: Sequence[str]) -> None:
        """UNLINK."""
        await self._client.unlink(*names)

    async def run(self, script: Script, name: str, words: Sequence[Any]) -> Any:
        """EVALSHA."""
        return await _run(self._client, script, name, words)

    async def renew(self) -> None:
        """Those that nobody uses."""
        await self._pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        """The pool."""
        await self._pool.disconnect()


class Cluster:
    """Keeps Servers. The driver finds the machines from the one that the URL names, and follows where keys move.

    A pipeline of the driver that is cancelled never gives its connections back: it is left to its own end instead, which comes with the
    deadline.
    """

    def __init__(self, url: str, *, tls: Tls, deadline_s: float, connections: int) -> None:
        options = {"socket_timeout": deadline_s, "socket_connect_timeout": deadline_s, "cluster_error_retry_attempts": 1}
        # Any, since the driver types few of a cluster's methods.
        self._make: Final[Callable[[], Any]] = partial(ValkeyCluster.from_url, url, **options, **_common(url, tls))
        self._client: Any = self._make()
        self._turns: Final = asyncio.Semaphore(connections)

    async def ping(self) -> None:
        """Every machine that keeps keys: with one away, some keys cannot be asked for."""
        await self._client.ping(target_nodes=ValkeyCluster.PRIMARIES)

    async def about(self) -> About:
        """By any of its machines; the driver refuses what is no cluster."""
        with contextlib.suppress(ResponseError):
            return About.told(await self._client.info(target_nodes=ValkeyCluster.RANDOM))
        return About(is_cluster=True)

    async def values(self, names: Sequence[str]) -> list[bytes | None]:
        """A GET each."""
        return await self._piped([("GET", name) for name in names])

    async def made(self, values: Sequence[tuple[str, bytes]], *, ttl_s: int) -> list[bytes | None]:
        """A machine answers in the order in which it was asked."""
        sets = [("SET", name, value, "NX", "EX", ttl_s) for name, value in values]
        return (await self._piped([*sets, *(("GET", name) for name, _ in values)]))[len(values) :]

    async def put(self, name: str, value: bytes, *, ttl_ms: int) -> None:
        """SET."""
        async with self._turns:
            await self._client.set(name, value, px=ttl_ms)

    async def remove(self, names: Sequence[str]) -> None:
        """An UNLINK each."""
        await self._piped([("UNLINK", name) for name in names])

    async def run(self, script: Script, name: str, words: Sequence[Any]) -> Any:
        """EVALSHA, where the key is."""
        async with self._turns:
            return await _run(self._client, script, name, words)

    async def renew(self) -> None:
        """A new look at who is in the cluster."""
        old, self._client = self._client, self._make()
        await old.aclose()

    async def close(self) -> None:
        """Those of every machine."""
        await self._client.aclose()

    async def _piped(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        async def execute() -> list[Any]:
            async with self._turns:
                pipeline = self._client.pipeline()
                for command in commands:
                    pipeline.execute_command(*command)
                answers: list[Any] = await pipeline.execute()
                return answers

        running = asyncio.ensure_future(execute())
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            running.add_done_callback(_unheard)
            raise


def _unheard(running: asyncio.Future[Any]) -> None:
    """Nobody waits for it any more; what it raises is nobody's surprise."""
    if not running.cancelled():
        running.exception()
