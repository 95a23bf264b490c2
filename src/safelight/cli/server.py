"""`serve`, `worker` and `migrate`: the commands that are Safelight, rather than talk to one."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import pickle
import re
import resource
import signal
import socket
import ssl
import sys
import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic import ValidationError

from safelight.errors import BadField, Conflict, SafelightError
from safelight.settings import Settings, unknown_names

OTHER_FILES = 768
"""Open files of a process beside its connections, at most: uploads under way, databases, the store, what it delivers."""

DataDir = Annotated[Path | None, Parameter(help="Folder for everything that is kept. Default: ./safelight-data.")]


def settings(**given: Any) -> Settings:
    """The settings from the environment, with what the command line says instead. Raises BadField that names the culprit."""
    strangers = unknown_names(os.environ)
    if strangers:
        lines = [f"{name} is not a setting" + (f"; did you mean {near}?" if near else ".") for name, near in strangers.items()]
        raise BadField(" ".join(lines))
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**_nested(changes))
    except ValidationError as error:
        raise BadField(refusal(error)) from None


def refusal(error: ValidationError) -> str:
    """Which setting is wrong, and how. What it holds is told unless that may be a secret, or an address with one in it."""
    first = error.errors()[0]
    said = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:  # two settings together, which the message names
        return f"{said}."
    name, given = "SAFELIGHT_" + "__".join(str(part).upper() for part in first["loc"]), first.get("input")
    # A section has secrets beside what is wrong in it, and a name that nobody knows may be a secret's misspelt.
    is_whole = len(first["loc"]) == 1 and first["loc"][0] != "data_dir"
    is_told = isinstance(given, str | int | float) and not is_whole and first["type"] != "extra_forbidden"
    is_told = is_told and not re.search("URL|KEY|SECRET|TOKEN|PASSWORD", name)
    return f"{name}: {said}" + (f" (got {given!r})." if is_told else ".")


def _nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    """`server__port=1` as `server={"port": 1}`; the rest of the section still comes from the environment."""
    nested: dict[str, Any] = {}
    for name, value in changes.items():
        section, _, inner = name.partition("__")
        if inner:
            nested.setdefault(section, {})[inner] = value
        else:
            nested[section] = value
    return nested


def serve(
    *,
    host: str | None = None,
    port: int | None = None,
    data_dir: DataDir = None,
    workers: int | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    json: bool = False,
) -> int:
    """Serve the API, delivery and the work behind them, until interrupted.

    Parameters
    ----------
    host
        Address to listen on. Default: 127.0.0.1.
    port
        Port to listen on. Default: 8000.
    workers
        API processes. Default: 1.
    tls_cert
        Certificate chain, PEM: serve over TLS. Default: plain HTTP.
    tls_key
        Its private key, PEM.
    json
        Print what the first start made as JSON.

    """
    gc.disable()  # until everything is imported: nothing of it is garbage, and looking costs a tenth of the start
    from safelight.observability import configure_logging
    from safelight.wiring import claimed

    changes = {"host": host, "port": port, "workers": workers, "tls_cert": tls_cert, "tls_key": tls_key}
    chosen = settings(data_dir=data_dir, **{f"server__{name}": value for name, value in changes.items()})
    configure_logging(level=chosen.log.level, is_json=chosen.log.format == "json")
    with claimed(chosen.data_dir):
        _check_port(chosen)
        _check_certificate(chosen)
        _rehearse(chosen)
        token = asyncio.run(_prepare(chosen))
        _greet(chosen, token, as_json=json)
        _listen(chosen)
    return 0


def _check_port(chosen: Settings) -> None:
    """Refuse a port that another server listens on: the workers share theirs with whoever asks (SO_REUSEPORT)."""
    host, port = chosen.server.host, chosen.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Conflict(f"Cannot listen on {host}:{port} ({error.strerror}). Choose another --port.") from None


def _check_certificate(chosen: Settings) -> None:
    """Refuse what the workers could not serve with: each would die at its start and be started again."""
    cert, key = chosen.server.tls_cert, chosen.server.tls_key
    if cert is None:
        return
    try:
        # The password keeps OpenSSL from asking for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror if error.filename or not isinstance(error, ssl.SSLError) else error.reason
        raise BadField(f"SAFELIGHT_SERVER__TLS_CERT and SAFELIGHT_SERVER__TLS_KEY cannot be used: {reason}.") from None


def _rehearse(chosen: Settings) -> None:
    """Try every backend in a process of its own, before this one has threads. Raises what was raised there."""
    from safelight.wiring import rehearse

    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            asyncio.run(rehearse(chosen))
            status = 0
        except SafelightError as error:
            os.write(writes, pickle.dumps(error))
        except BaseException:  # noqa: BLE001 (nothing of the parent's may run in here)
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writes)
    with os.fdopen(reads, "rb") as answer:
        told = answer.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if told:
        raise pickle.loads(told)  # noqa: S301 (from a process that was this one a moment ago)
    if status:
        raise SafelightError(f"The backends could not be tried (exit code {status}).")


async def _prepare(chosen: Settings) -> str | None:
    """Folders, schema and, on an empty installation, the first tenant; before any process is forked."""
    from safelight.wiring import build, keep_secret

    chosen.spool_path.mkdir(mode=0o700, parents=True, exist_ok=True)
    safelight = build(chosen)
    await safelight.catalog.migrate()
    await safelight.catalog.open()
    key_file = chosen.data_dir / "admin.key"
    kept: list[str] = []

    def keep(token: str) -> None:
        kept.append(token)
        key_file.unlink(missing_ok=True)  # of a start that was cut off: it opens nothing
        keep_secret(key_file, token + "\n")

    try:
        token = await safelight.accounts.bootstrap(keep)
    finally:
        await safelight.catalog.close()
    if kept and token is None:
        key_file.unlink()  # it opens nothing: another server made the installation
    return token


def _greet(chosen: Settings, token: str | None, *, as_json: bool) -> None:
    scheme = "https" if chosen.server.tls_cert else "http"
    url = chosen.server.public_url or f"{scheme}://{chosen.server.host}:{chosen.server.port}"
    if as_json:
        import orjson

        print(orjson.dumps({"url": url, "api_key": token, "data_dir": str(chosen.data_dir.resolve())}).decode(), flush=True)
        return
    lines = [f"Safelight serves {url} from {chosen.data_dir.resolve()}"]
    if token is not None:
        lines += [
            "",
            f"This installation is new. Its operator's API key, shown only now and kept in {chosen.data_dir / 'admin.key'}:",
            "",
            f"    {token}",
            "",
            "Send a photograph:",
            "",
            f"    curl -H 'Authorization: Bearer {token}' -F file=@photo.jpg {url}/images",
            "",
            f"Or drop some into the gallery: {url}/#key={token}",
        ]
    print("\n".join(lines), flush=True)


def _listen(chosen: Settings) -> None:
    """Run granian; its parent process watches over the workers and starts a dead one anew."""
    from granian.constants import Interfaces
    from granian.http import HTTP1Settings

    import safelight.adapters.workflows.dbos
    import safelight.api.app
    import safelight.console.routes  # noqa: F401 (all imported before the fork: a respawned worker is there at once)
    from safelight.cli.parent import Parent

    most = connections(chosen.server.max_connections)
    server = Parent(
        "safelight",
        address=chosen.server.host,
        port=chosen.server.port,
        interface=Interfaces.ASGI,
        workers=chosen.server.workers,
        backlog=most,
        backpressure=most,
        factory=True,
        log_access=False,
        log_dictconfig={"loggers": {"_granian": {"handlers": [], "propagate": True}}, "handlers": {}, "formatters": {}},
        respawn_failed_workers=True,
        respawn_interval=2.0,
        workers_kill_timeout=chosen.server.drain_s,
        http1_settings=HTTP1Settings(header_read_timeout=10_000),
        websockets=False,
        ssl_cert=chosen.server.tls_cert,
        ssl_key=chosen.server.tls_key,
    )
    gc.freeze()  # what is here now is shared with every worker and never garbage
    server.serve(target_loader=partial(_served, chosen))


def connections(wanted: int) -> int:
    """How many of them a process can hold by the limit of open files, which is raised as far as it may be.

    Granian accepts no more than it is told, and says nothing to the others: better many, most of them idle, and an answer for each.
    """
    told = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (sys.maxsize if limit == resource.RLIM_INFINITY else limit for limit in told)
    if soft < (enough := min(hard, wanted + OTHER_FILES)):
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, told[1]))
        soft = enough
    return max(64, min(wanted, soft - OTHER_FILES))


def _served(chosen: Settings, target: str) -> Any:
    """Inside a worker: the application, over services of its own."""
    from safelight.api.app import Front
    from safelight.console.routes import router
    from safelight.wiring import build

    die_with_parent()
    few_arenas()
    gc.enable()
    return Front(build(chosen.of_one_process()), console=router)


def die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies, however it does: nobody is left holding the port and the data directory."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # linux/prctl.h
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def few_arenas() -> None:
    """Let the C library keep two heaps instead of one per thread: freed buffers of uploads are then used again, not hoarded."""
    if sys.platform == "linux":
        m_arena_max = -8  # malloc.h
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # not in musl
        if mallopt is not None:
            mallopt(m_arena_max, 2)


def worker(*, data_dir: DataDir = None, json: bool = False) -> int:
    """Take part in the work of a server: run flows, relay events, keep the clock. Any number may.

    Parameters
    ----------
    json
        Print a line of JSON when it takes part, and one when it has stopped.

    """
    from safelight.observability import configure_logging
    from safelight.wiring import build
    from safelight.worker import work

    chosen = settings(data_dir=data_dir)
    if not (chosen.data_dir / "catalog.db").exists() and not chosen.catalog.url:
        raise BadField(f"{chosen.data_dir} holds no installation; start `safelight serve` first, or name it by --data-dir.")
    configure_logging(level=chosen.log.level, is_json=chosen.log.format == "json")

    def tell(state: str) -> None:
        if json:
            print(f'{{"worker":"{state}","pid":{os.getpid()}}}', flush=True)

    asyncio.run(work(build(chosen), tell))
    return 0


def migrate(*, data_dir: DataDir = None, check: bool = False, plan: bool = False, json: bool = False) -> int:
    """Bring the catalog's schema up to date.

    Parameters
    ----------
    check
        Change nothing; leave with 1 when there is something to do.
    plan
        Change nothing; tell which revisions would be applied.
    json
        Print the result as JSON.

    """
    import orjson

    from safelight.observability import configure_logging
    from safelight.wiring import build

    chosen = settings(data_dir=data_dir)
    configure_logging(level=chosen.log.level, is_json=chosen.log.format == "json")
    catalog = build(chosen).catalog
    pending = asyncio.run(catalog.plan())
    applied = [] if check or plan else asyncio.run(catalog.migrate())
    is_current = check is False or not pending
    if json:
        print(orjson.dumps({"is_current": not pending or bool(applied), "pending": pending, "applied": applied}).decode())
    elif applied:
        print(f"Applied {', '.join(applied)}.")
    elif pending:
        print(f"To be applied: {', '.join(pending)}. Run `safelight migrate`.")
    else:
        print("Up to date.")
    return 0 if is_current else 1
