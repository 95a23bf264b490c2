"""`mail`: letters that a server without an SMTP server has written into its data directory. Reads files, asks nobody."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter
from cyclopts.validators import Number

from safelight.cli import output
from safelight.cli.connection import DEFAULT_DATA_DIR, Json
from safelight.domain.ids import is_id
from safelight.errors import Missing

FOLDER: Final = "mail"
DataDir = Annotated[
    Path | None,
    Parameter(env_var="SAFELIGHT_DATA_DIR", show_default=False, help="Data directory of the server. Default: ./safelight-data."),
]

mail = App(name="mail", help="Letters of a server that sends none: with SAFELIGHT_MAIL__HOST unset they are files.")


@mail.command(name="list")
def list_mail(
    *, limit: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 20, data_dir: DataDir = None, json: Json = False
) -> int:
    """List letters, newest first.

    Parameters
    ----------
    limit
        How many, at most.

    """
    found = [_read(path) for path in sorted(_folder(data_dir).glob("*.eml"), reverse=True)[:limit]]
    if json:
        output.say_json({"mail": found})
        return 0
    rows = output.table("written", "to", "subject", "id")
    for each in found:
        rows.add_row(output.text(each["date"]), output.text(each["to"]), output.text(each["subject"]), output.text(each["id"]))
    output.listing(found, rows, "There is no letter.")
    return 0


@mail.command(name="show")
def show_mail(id: str = "", /, *, data_dir: DataDir = None, json: Json = False) -> int:
    """Show a letter as text. The newest, unless one is named.

    Parameters
    ----------
    id
        As `mail list` shows it.

    """
    folder = _folder(data_dir)
    if id and not is_id(id):
        raise Missing(f"There is no letter {id!r}.")
    path = folder / f"{id}.eml" if id else max(folder.glob("*.eml"), default=folder / "none.eml")
    try:
        found = _read(path)
    except FileNotFoundError:
        raise Missing(f"There is no such letter in {folder}.") from None
    if json:
        output.say_json(found)
        return 0
    console = output.out()
    for name in ("to", "subject", "date"):
        console.print(output.text(f"{name}: {found[name]}"))
    console.print()
    for line in found["text"].splitlines():
        console.print(output.text(line), soft_wrap=True)
    return 0


def _folder(data_dir: Path | None) -> Path:
    return (data_dir or DEFAULT_DATA_DIR) / FOLDER


def _read(path: Path) -> dict[str, str]:
    message = message_from_bytes(path.read_bytes(), policy=policy.default)
    assert isinstance(message, EmailMessage)
    body = message.get_body(("plain",))
    return {
        "id": path.stem,
        "to": str(message["to"]),
        "subject": str(message["subject"]),
        "date": str(message["date"]),
        "text": str(body.get_content()) if body else "",
    }
