"""The commands as people and scripts run them: as processes, against a real server, on real photographs.

Every test has a user of its own, so none sees what another one sent.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from safelight.cli import COMMANDS, app, main
from safelight.client import Client

_spec = importlib.util.spec_from_file_location("photographs", Path(__file__).parents[1] / "photographs.py")
assert _spec is not None and _spec.loader is not None
photographs = importlib.util.module_from_spec(_spec)
sys.modules.setdefault("photographs", photographs)
_spec.loader.exec_module(photographs)


@dataclass
class Run:
    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def document(self) -> Any:
        (one,) = self.documents
        return one


@dataclass
class Shell:
    """Runs `safelight` with one server and one key in its environment."""

    url: str
    key: str
    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        mine = {
            "SAFELIGHT_URL": self.url,
            "SAFELIGHT_API_KEY": self.key,
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / "state"),
        }
        return {k: v for k, v in os.environ.items() if not k.startswith("SAFELIGHT_")} | mine | self.environment

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "safelight", *map(str, arguments)]
        return subprocess.Popen(
            command, env=self.variables, cwd=self.home, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def __call__(self, *arguments: str | Path) -> Run:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return Run(process.returncode, out, err)


@pytest.fixture(scope="session")
def server(embedded: Any) -> Any:
    """Commands that look into a data directory need one."""
    return embedded


@pytest.fixture
def operator(server: Any, tmp_path: Path) -> Iterator[Shell]:
    """The operator's shell. What the test brings in is removed again: the server is shared."""
    home = tmp_path / "home"
    home.mkdir()
    with Client(server.url, server.api_key) as client:
        before = {image["id"] for image in client.list()}
        yield Shell(server.url, server.api_key, home)
        for image in [*client.list()]:
            if image["id"] not in before:
                client.delete(image["id"])
        for image in [*client.list(trashed="true")]:
            client.delete(image["id"], purge=True)


@pytest.fixture
def shell(operator: Shell, request: pytest.FixtureRequest) -> Shell:
    """A shell of a new user who has nothing yet."""
    with Client(operator.url, operator.key) as client:
        user = client.add_user(f"{request.node.name} {time.monotonic_ns()}"[:200])
        token = client.add_api_key(user["id"])["token"]
    assert token is not None
    return Shell(operator.url, token, operator.home)


@pytest.fixture
def client(shell: Shell) -> Iterator[Client]:
    with Client(shell.url, shell.key) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photographs in two folders."""
    target = tmp_path / "pictures"
    for path, below in zip(small()[:3], ("", "2019", "2019"), strict=True):
        (target / below).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target / below / path.name)
    return target


def small() -> list[Path]:
    return sorted(photographs.photographs("small"), key=lambda path: path.stat().st_size)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def variants(folder: Path, count: int) -> None:
    """So many different files: one photograph with a comment of its own (JPEG's COM segment, ITU-T T.81 B.2.4.5)."""
    body = next(path for path in small() if path.name == "rocket.jpg").read_bytes()
    folder.mkdir(parents=True)
    for number in range(count):
        words = f"number {number}".encode()
        (folder / f"{number:03}.jpg").write_bytes(body[:2] + b"\xff\xfe" + (len(words) + 2).to_bytes(2, "big") + words + body[2:])


# upload


def test_upload_prints_the_record_and_where_its_renditions_are(shell: Shell) -> None:
    done = shell("upload", small()[0], "--title", "First light", "--tag", "a", "--tag", "b")

    assert done.code == 0, done.err
    assert "thumb_150" in done.out and f"{shell.url}/i/" in done.out
    assert "tags a, b" in done.out


def test_upload_goes_on_behind_a_file_that_is_refused(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(small()[-1].read_bytes()[:5000])
    done = shell("upload", tmp_path / "broken.jpg", tmp_path / "gone.jpg", small()[0], "--json")

    assert done.code == 1
    assert [each.get("status") or each["problem"]["code"] for each in done.documents] == ["corrupt_image", "bad_field", "ready"]


def test_upload_into_an_album_makes_it_once(shell: Shell, client: Client) -> None:
    for path in small()[:2]:
        assert shell("upload", path, "--album", "Holidays").code == 0

    (album,) = client.albums()
    assert (album["title"], album["image_count"]) == ("Holidays", 2)


# import


def test_importing_a_folder_twice_sends_everything_once(shell: Shell, client: Client, folder: Path) -> None:
    first = shell("import", folder, "--json")
    second = shell("import", folder, "--json")

    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert first.documents[-1]["summary"]["imported"] == 3
    assert (second.documents[-1]["summary"]["imported"], second.documents[-1]["summary"]["already_there"]) == (0, 3)
    assert {image["sha256"] for image in client.list()} == {sha256(path) for path in folder.rglob("*.*")}


def test_what_is_there_is_found_without_a_journal_too(shell: Shell, folder: Path) -> None:
    shell("import", folder)
    shutil.rmtree(shell.home / "state")

    assert shell("import", folder, "--json").documents[-1]["summary"]["already_there"] == 3


def test_a_mixed_folder_is_sorted_out(shell: Shell, folder: Path) -> None:
    (folder / "notes.txt").write_text("not a picture")
    (folder / "lie.jpg").write_text("not a picture either")
    (folder / "broken.jpg").write_bytes(small()[-1].read_bytes()[:5000])
    (folder / ".hidden.jpg").write_bytes(small()[0].read_bytes())
    (folder / "again.jpg").write_bytes(small()[0].read_bytes())
    done = shell("import", folder, "--tag", "mixed")

    assert done.code == 1
    assert "broken.jpg" in done.err and "corrupt_image" in done.err
    assert [
        line.split()[:2] for line in done.out.splitlines() if line.strip().startswith(("imported", "refused", "skipped"))
    ] == [
        ["imported", "3"],
        ["refused", "1"],
        ["skipped", "3"],
    ]


def test_a_dry_run_sends_nothing(shell: Shell, client: Client, folder: Path) -> None:
    done = shell("import", folder, "--dry-run", "--album", "Nothing", "--json")

    assert done.code == 0
    assert done.documents[-1]["summary"]["would_import"] == 3
    assert list(client.list()) == [] and list(client.albums()) == []


def test_an_interrupted_import_finishes_what_is_in_flight_and_is_resumed(shell: Shell, client: Client, tmp_path: Path) -> None:
    variants(tmp_path / "many", 40)
    process = shell.start("import", tmp_path / "many", "--json", "--concurrency", "2")
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    summary = json.loads(out.splitlines()[-1])["summary"]

    assert process.returncode == 130, err
    assert summary["is_interrupted"] and 3 <= summary["imported"] < 40
    assert summary["imported"] + summary["not_begun"] == 40
    assert all(image["status"] == "ready" for image in client.list())
    resumed = shell("import", tmp_path / "many", "--json").documents[-1]["summary"]
    assert (resumed["already_there"], resumed["imported"]) == (summary["imported"], 40 - summary["imported"])
    assert len(list(client.list())) == 40


def test_an_import_that_is_killed_is_resumed_without_doubles(shell: Shell, client: Client, tmp_path: Path) -> None:
    variants(tmp_path / "many", 20)
    process = shell.start("import", tmp_path / "many", "--json")
    assert process.stdout is not None
    for _ in range(2):
        process.stdout.readline()
    process.kill()
    process.communicate()
    time.sleep(1)  # the server finishes or drops what was on the wire
    again = shell("import", tmp_path / "many", "--json")

    assert again.code == 0, again.err
    assert len(list(client.list())) == 20


def test_what_was_put_into_the_trash_is_not_brought_back(shell: Shell, client: Client, folder: Path) -> None:
    shell("import", folder)
    client.delete(next(client.list())["id"])
    summary = shell("import", folder, "--json").documents[-1]["summary"]

    assert (summary["in_trash"], summary["already_there"], summary["imported"]) == (1, 2, 0)


def test_an_import_waits_for_a_server_that_is_started_again(new_server: Any, tmp_path: Path) -> None:
    new_server.start()
    variants(tmp_path / "many", 30)
    shell = Shell(new_server.url, new_server.api_key, tmp_path)
    process = shell.start("import", tmp_path / "many", "--json")
    assert process.stdout is not None
    with process:  # closes its pipes
        first = process.stdout.readline()
        new_server.kill()
        new_server.start()
        # Not by communicate: it would read past what readline has already taken into its buffer.
        lines = [first, *process.stdout]
        err = process.stderr.read() if process.stderr else ""

    assert process.returncode == 0, err
    assert len(lines) == 31, "one for each file and the summary"
    with Client(shell.url, shell.key) as client:
        assert len({image["sha256"] for image in client.list()}) == len(list(client.list())) == 30


# search


def test_search_shows_what_matched_and_mends_typing_errors(shell: Shell) -> None:
    shell("upload", small()[0], "--title", "Lighthouse at dusk", "--tag", "coast")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not shell("search", "lighthouse", "--json").document["results"]:
        time.sleep(0.2)
    exact, mended, nothing = shell("search", "lighthouse"), shell("search", "lighthuose"), shell("search", "zzzzzz")

    assert "Lighthouse at dusk" in exact.out and "coast" in exact.out
    assert "Searched for lighthouse instead." in mended.out
    assert "Nothing found." in nothing.out


# export


def test_what_was_imported_is_exported_byte_for_byte(shell: Shell, folder: Path, tmp_path: Path) -> None:
    shell("import", folder)
    done = shell("export", tmp_path / "out", "--sidecar", "--json")
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.suffix != ".json"]

    assert done.code == 0, done.err
    assert {path.name: sha256(path) for path in files} == {path.name: sha256(path) for path in folder.rglob("*.*")}
    sidecar = json.loads(files[0].with_name(f"{files[0].name}.json").read_text())
    assert sidecar["sha256"] == sha256(files[0])
    assert "sig=" not in json.dumps(sidecar)


def test_a_second_export_fetches_nothing_and_a_damaged_file_is_left_and_fetched_beside(
    shell: Shell, folder: Path, tmp_path: Path
) -> None:
    shell("import", folder)
    shell("export", tmp_path / "out")
    again = shell("export", tmp_path / "out", "--json").documents[-1]["summary"]
    damaged = next((tmp_path / "out").rglob("*.png"))
    damaged.write_bytes(b"mine")
    third = shell("export", tmp_path / "out", "--json").documents[-1]["summary"]

    assert (again["written"], again["already_there"]) == (0, 3)
    assert (third["written"], third["already_there"]) == (1, 2)
    assert damaged.read_bytes() == b"mine"
    assert damaged.with_name(f"{damaged.stem}-2.png").exists()


def test_an_export_is_narrowed_by_album_and_tag(shell: Shell, tmp_path: Path) -> None:
    for path, tag in zip(small()[:2], ("a", "b"), strict=True):
        shell("upload", path, "--tag", tag, "--album", f"Album {tag}")
    by_tag = shell("export", tmp_path / "tag", "--tag", "a", "--json").documents
    by_album = shell("export", tmp_path / "album", "--album", "Album b", "--json").documents

    assert [Path(each["file"]).name for each in by_tag[:-1]] == [small()[0].name]
    assert [Path(each["file"]).name for each in by_album[:-1]] == [small()[1].name]
    assert shell("export", tmp_path / "none", "--album", "Album c").code == 1


# the operator's commands


def test_there_are_no_failures_on_a_server_that_is_well(operator: Shell) -> None:
    assert operator("failures", "list").out == "Nothing was given up.\n"
    assert operator("failures", "show", "nothing").code == 1


def test_failures_are_shown_retried_and_discarded_by_what_they_have_in_common(new_server: Any, tmp_path: Path) -> None:
    # Nobody listens there: a port that is bound and not listened on refuses whoever connects.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        mail = {"HOST": "127.0.0.1", "PORT": port, "SECURITY": "none"}
        new_server.environment = {f"SAFELIGHT_MAIL__{name}": value for name, value in mail.items()}
        new_server.start()
        shell = Shell(new_server.url, new_server.api_key, tmp_path)
        with Client(shell.url, shell.key) as client:
            for name in ("ann", "ben", "cat"):
                client._ask("POST", "/admin/users", json={"name": name, "role": "user", "email": f"{name}@example.com"})
        deadline = time.monotonic() + 120
        while len(found := shell("failures", "list", "--flow", "mail", "--json").document["failures"]) < 3:
            assert time.monotonic() < deadline, found
            time.sleep(1.0)

        shown = shell("failures", "show", found[0]["id"])
        assert shown.code == 0
        assert shown.out.count("try failed step=send") == 4
        cause = found[0]["error"].split(":")[0]
        assert shell("failures", "list", "--flow", "develop").out == "Nothing was given up.\n"
        assert shell("failures", "retry", "--cause", "no such cause").out == "Tried again: 0.\n"
        assert shell("failures", "discard", "--cause", cause.upper(), "--before", "2020-01-01").out == "Forgotten: 0.\n"
        assert shell("failures", "discard", "--cause", cause, found[0]["id"]).code == 2
        assert shell("failures", "retry", "--flow", "mail", "--cause", cause, "--json").document == {"count": 3}
        while len(again := shell("failures", "list", "--json").document["failures"]) < 3:
            assert time.monotonic() < deadline + 120, again
            time.sleep(1.0)
        assert {one["id"] for one in again} == {one["id"] for one in found}
        assert shell("failures", "discard", again[0]["id"]).out == "Forgotten: 1.\n"
        assert shell("failures", "discard", "--all").out == "Forgotten: 2.\n"
        assert shell("failures", "list").out == "Nothing was given up.\n"


def test_a_user_is_added_and_the_key_they_get_works_until_it_is_revoked(operator: Shell) -> None:
    name = f"anna {time.monotonic_ns()}"
    assert operator("user", "add", name).code == 0
    key = operator("user", "key", "add", name, "--days", "1", "--json").document
    anna = Shell(operator.url, key["token"], operator.home)

    assert name in operator("user", "list").out
    assert key["id"] in operator("user", "key", "list").out
    assert anna("upload", small()[0]).code == 0
    assert anna("user", "list").code == 1
    assert operator("user", "key", "revoke", key["id"]).code == 0
    refused = anna("upload", small()[0])
    assert (refused.code, "unauthenticated" in refused.err) == (1, True)


def test_a_signing_key_is_added_and_the_old_one_retired(new_server: Any, tmp_path: Path) -> None:
    new_server.start()
    shell = Shell(new_server.url, new_server.api_key, tmp_path)
    old = shell("keys", "list", "--json").document["keys"][0]["kid"]
    refused = shell("keys", "retire", old)
    new = shell("keys", "add", "--json").document
    retired = shell("keys", "retire", old)

    assert (refused.code, "last live" in refused.err) == (1, True)
    assert len(bytes.fromhex(new["secret"])) == 32
    assert retired.code == 0
    assert [key["retired_at"] is None for key in shell("keys", "list", "--json").document["keys"]] == [True, False]
    assert new["kid"] in shell("upload", small()[0]).out


def test_doctor_says_that_a_server_holds_the_data_directory(server: Any, operator: Shell) -> None:
    operator.environment = {"SAFELIGHT_URL": "", "SAFELIGHT_API_KEY": ""}
    done = operator("doctor", "--data-dir", server.data_dir, "--json")
    states = {check["name"]: (check["state"], check["found"]) for check in done.document["checks"]}

    assert done.code == 0, done.out
    assert "runs as process" in states["server"][1]
    assert all(states[name][0] == "ok" for name in ("catalog", "workflows", "search", "objects", "master key", "catalog key"))


# all of them


def leaves(group, path):
    """Every command under this one that does something itself."""
    if group.default_command:
        return [path]
    return [leaf for name in group if not name.startswith("-") for leaf in leaves(group[name], f"{path} {name}")]


LEAVES = [leaf for commands in COMMANDS.values() for name in commands for leaf in leaves(app[name], name)]

# What each command is called with, and how it leaves. `serve` is what the server under test runs; `worker` never ends.
CALLS: dict[str, tuple[list[str], int]] = {
    "migrate": (["--data-dir", "{data_dir}", "--check"], 0),
    "doctor": (["--data-dir", "{data_dir}"], 0),
    "upload": (["{picture}"], 0),
    "import": (["{folder}"], 0),
    "search": (["anything"], 0),
    "url": (["nothing", "w=10.webp"], 1),
    "export": (["{home}/out"], 0),
    "album list": ([], 0),
    "album share": (["nothing", "nobody"], 1),
    "album unshare": (["nothing", "nobody"], 1),
    "album shares": (["nothing"], 1),
    "album link": (["nothing"], 1),
    "album links": (["nothing"], 1),
    "album unlink": (["nothing", "none"], 1),
    "bucket apply": ([], 1),
    "bucket check": ([], 1),
    "failures list": ([], 0),
    "failures show": (["nothing"], 1),
    "failures retry": (["--all"], 0),
    "failures discard": (["--all"], 0),
    "keys list": ([], 0),
    "keys add": ([], 0),
    "keys retire": (["nothing"], 1),
    "keys cookies": ([], 1),
    "keys tokens list": ([], 0),
    "keys tokens add": ([], 0),
    "keys tokens retire": (["nothing"], 1),
    "mail list": (["--data-dir", "{data_dir}"], 0),
    "mail show": (["--data-dir", "{data_dir}", "nothing"], 1),
    "move": (["--from", "{home}/nothing", "--to", "{home}/here"], 2),
    "backup create": (["--in", "{home}/backups", "--key-file", "{data_dir}/keys/master.key", "--data-dir", "{data_dir}"], 0),
    "backup list": (["--in", "{home}/backups", "--key-file", "{home}/nothing"], 1),
    "backup prune": (["--in", "{home}/backups", "--key-file", "{home}/nothing"], 1),
    "backup verify": (["--in", "{home}/backups", "--key-file", "{home}/nothing"], 1),
    "backup restore": (["--in", "{home}/backups", "--key-file", "{home}/nothing", "--to", "{home}/here"], 1),
    "user list": ([], 0),
    "user add": (["someone {now}"], 0),
    "user invite": (["nobody {now}", "nobody@example.org"], 1),
    "user reset-mfa": (["nobody {now}"], 1),
    "user disable": (["nobody {now}"], 1),
    "user enable": (["nobody {now}"], 1),
    "user key list": ([], 0),
    "user key add": (["operator", "--days", "1"], 0),
    "user key change": (["nothing", "--name", "other"], 1),
    "user key revoke": (["nothing"], 1),
    "webhook list": ([], 0),
    "webhook add": (["https://hooks.example.com/{now}", "--event", "endpoint.disabled"], 0),
    "webhook edit": (["nothing", "--off"], 1),
    "webhook rotate": (["nothing"], 1),
    "webhook remove": (["nothing"], 1),
    "webhook test": (["nothing"], 1),
    "webhook deliveries": (["nothing"], 1),
    "webhook replay": (["nothing", "--since", "6h"], 1),
    "user export": (["nobody {now}", "{home}/user.zip"], 1),
    "user erase": (["nobody {now}"], 1),
    "tenant list": ([], 0),
    "tenant show": (["nothing"], 1),
    "tenant add": (["studio-{now}"], 0),
    "tenant set": (["nothing", "--max-requests-per-s", "5"], 1),
    "tenant suspend": (["nothing"], 1),
    "tenant resume": (["nothing"], 1),
    "tenant usage": ([], 0),
    "tenant export": (["nothing", "{home}/tenant.zip"], 1),
    "tenant erase": (["nothing"], 1),
    "issuer list": ([], 0),
    "issuer add": (["nothing", "--audience", "app"], 1),
    "issuer set": (["nothing", "--skew", "5"], 1),
    "issuer remove": (["nothing"], 1),
    "issuer check": (["nothing"], 1),
    "audit list": ([], 0),
    "audit head": ([], 0),
    "audit export": (["{home}/trail.ndjson"], 0),
    "audit verify": ([], 0),
    "reconcile": (["--data-dir", "{home}/nothing"], 1),
    "scrub": (["--data-dir", "{home}/nothing"], 1),
    "recipe list": ([], 0),
    "recipe show": (["nothing"], 1),
    "recipe set": (["plain", "/dev/null"], 0),
    "recipe remove": (["nothing"], 1),
    "recipe apply": (["nothing", "--nowhere"], 1),
    "redevelop": (["--dry-run"], 0),
    "warm": (["w=10.webp", "--image", "nothing"], 1),
    "purge image": (["nothing"], 1),
    "purge tag": (["sea"], 0),
    "purge source": (["https://cdn.example.com/sea.jpg"], 0),
    "purge tenant": ([], 0),
    "purge list": ([], 0),
    "reindex": ([], 0),
}


def test_every_command_is_called_here() -> None:
    assert set(CALLS) | {"serve", "worker"} == set(LEAVES)


@pytest.fixture
def here(operator: Shell, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Runs a command in this process, which spares half a second for each."""
    for name, value in operator.variables.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Run:
        with pytest.raises(SystemExit) as left:
            main(list(arguments))
        return Run(int(left.value.code or 0), *capfd.readouterr())

    return run


@pytest.mark.parametrize("command", CALLS)
def test_with_json_standard_output_is_json_and_nothing_else(
    command: str, server: Any, here: Callable[..., Run], folder: Path, tmp_path: Path
) -> None:
    arguments, code = CALLS[command]
    words = {"data_dir": server.data_dir, "picture": small()[0], "folder": folder, "home": tmp_path, "now": time.monotonic_ns()}
    done = here(*command.split(), *(each.format(**words) for each in arguments), "--json")

    assert done.code == code, done.err
    assert all(isinstance(document, dict) for document in done.documents)
    assert bool(done.documents) == (code == 0)
    assert done.err.startswith("safelight: ") == (code != 0)


@pytest.mark.parametrize(
    "command",
    [
        name
        for name in CALLS
        if name.split()[0] not in ("migrate", "doctor", "bucket", "mail", "move", "reconcile", "scrub", "backup")
    ],
)
def test_without_a_server_there_is_a_line_that_helps_and_exit_code_3(
    command: str, here: Callable[..., Run], tmp_path: Path, folder: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}"
    words = {"picture": small()[0], "folder": folder, "home": tmp_path, "now": 1}
    done = here(*command.split(), *(each.format(**words) for each in CALLS[command][0]), "--url", nobody)

    assert done.code == 3
    assert done.out == ""
    assert done.err.count("\n") == 1 and "safelight serve --port" in done.err and nobody in done.err


def test_output_that_is_cut_off_is_no_error_worth_a_traceback(shell: Shell) -> None:
    shell("upload", small()[0])
    process = shell.start("search", "--json")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    with process.stderr as stream:
        err = stream.read()
    process.wait(timeout=30)

    assert err == ""
