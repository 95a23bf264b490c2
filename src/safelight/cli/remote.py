"""`upload`, `search`, `url` and `reindex`: one request or a few, and what came of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from safelight.cli import WrongUsage, output
from safelight.cli.connection import HERE, Json, Server, Visibility
from safelight.cli.naming import album_id
from safelight.errors import BadField, SafelightError

if TYPE_CHECKING:
    from rich.progress import TaskID
    from rich.text import Text

    from safelight.client import FoundImage, Image, SearchPage


def upload(
    *files: Path,
    title: str = "",
    description: str = "",
    tag: tuple[str, ...] = (),
    album: str = "",
    visibility: Visibility = "private",
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Send image files, and print their records with the URLs of their renditions.

    A file that is refused is reported with its code, and the others are sent all
    the same; the exit code is 1 then.

    Parameters
    ----------
    files
        Image files: JPEG, PNG, GIF, WebP, AVIF, TIFF, HEIC or SVG.
    title
        Title of every file sent.
    description
        Description of every file sent.
    tag
        Tag of every file sent. May be repeated.
    album
        Album to put them into, by title or id. Is made when there is none of that title.
    visibility
        Who may see them: you, whoever has the link, everybody.

    """
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn

    from safelight.cli.crew import Stop, patiently
    from safelight.client import Unreachable

    if not files:
        raise WrongUsage("Name the files to send, or use `safelight import` for a folder.")
    refused = 0
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with server.connect() as client, output.progress(*columns, console=output.err()) as bar:
        into = album_id(client, album, make=True) if album else ""
        for path in files:
            task = bar.add_task(output.plain(path.name), total=None)

            def send(path: Path = path, task: TaskID = task) -> Image:
                bar.reset(task, total=path.stat().st_size)
                return client.upload(
                    path,
                    title=title,
                    description=description,
                    tags=tag,
                    album=into,
                    visibility=visibility,
                    told=lambda count: bar.advance(task, count),
                )

            try:
                image = patiently(send, patience_s=30, stop=Stop(), hopeless=(Unreachable,))
            except Unreachable:
                raise
            except OSError as error:
                refused += 1
                _report(path, BadField(f"The file cannot be read: {error.strerror}."), as_json=json)
            except SafelightError as error:
                refused += 1
                _report(path, error, as_json=json)
            else:
                _show(image, path, as_json=json)
            finally:
                bar.remove_task(task)
    return 1 if refused else 0


def _report(path: Path, error: SafelightError, *, as_json: bool) -> None:
    if as_json:
        output.say_json({"file": str(path), "problem": {"code": error.code, "detail": error.detail}})
    else:
        output.err().print(output.text(f"{path}: {error.detail} [{error.code}]"))


def _show(image: Image, path: Path, *, as_json: bool) -> None:
    if as_json:
        output.say_json(image)
        return
    console = output.out()
    facts = [image["type"], f"{image['width']} x {image['height']}", output.size(image["bytes"]), image["visibility"]]
    if image["tags"]:
        facts.append("tags " + ", ".join(image["tags"]))
    console.print(output.text(f"{path} is image {image['id']}", style="bold"))
    console.print(output.text(", ".join(facts)))
    if image["duplicate_of"]:
        console.print(output.text(f"You already had these bytes, as image {image['duplicate_of']}.", style="yellow"))
    if image["status"] != "ready":
        console.print(output.text(f"Its renditions are not ready yet ({image['status']}); they come by themselves."))
    rows = output.table("rendition", "type", "pixels", "size", "URL", right=("pixels", "size"))
    for each in image["renditions"]:
        pixels = f"{each['width']} x {each['height']}"
        url = output.link(each["url"])
        rows.add_row(output.text(each["preset"]), output.text(each["type"]), pixels, output.size(each["bytes"]), url)
    rows.add_row("original", output.text(image["type"]), facts[1], facts[2], output.link(image["original_url"]))
    console.print(rows)


def search(
    text: str = "",
    /,
    *,
    tag: tuple[str, ...] = (),
    type: str = "",
    year: int | None = None,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=10_000))] = 50,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Find images by their words.

    Looks at title, description, tags, file name, camera and place, and forgives
    typing errors.

    Parameters
    ----------
    text
        What to look for. Nothing finds everything, newest first.
    tag
        Only images with this tag. May be repeated.
    type
        Only originals of this media type, such as image/jpeg.
    year
        Only images taken in this year.
    limit
        How many results, at most.

    """
    from safelight.client import PAGE

    with server.connect() as client:
        page = client.search(text, tags=tag, type=type, year=year, limit=min(limit, PAGE))
        results, cursor = page["results"], page["next"]
        while cursor is not None and len(results) < limit:
            more = client.search(text, tags=tag, type=type, year=year, limit=min(limit - len(results), PAGE), cursor=cursor)
            results, cursor = [*results, *more["results"]], more["next"]
    if json:
        output.say_json({**page, "results": results, "next": cursor})
    else:
        _show_found(page, results)
    return 0


def _show_found(page: SearchPage, results: list[FoundImage]) -> None:
    console = output.out()
    if page["corrected"]:
        console.print(output.text(f"Searched for {page['corrected']} instead."))
    if not results:
        console.print("Nothing found.")
        return
    rows = output.table("image", "date", "size", "tags", "matched", "id", right=("size",))
    for found in results:
        image = found["image"]
        rows.add_row(
            output.link(_largest(image), image["title"] or image["file_name"] or image["id"]),
            output.date(image["taken_at"] or image["created_at"]),
            output.size(image["bytes"]),
            output.text(", ".join(image["tags"])),
            _matched(found),
            output.text(image["id"]),
        )
    console.print(rows)
    if page["total"] > len(results):
        more = "" if page["is_total_exact"] else " or more"
        console.print(f"{len(results)} of {page['total']}{more}; more with --limit.")


def _largest(image: Image) -> str:
    """Where a click should lead: the largest rendition, else the original."""
    renditions = sorted(image["renditions"], key=lambda each: each["width"])
    return renditions[-1]["url"] if renditions else image["original_url"]


def _matched(found: FoundImage) -> Text:
    """Where the words were found, save in what the row shows anyway without any mark."""
    from rich.text import Text

    lines = [
        Text.assemble((output.plain(name) + ": ", "dim"), output.marked(html))
        for name, html in found["highlights"].items()
        if "<mark>" in html
    ]
    return Text("\n").join(lines)


def url(
    image: str,
    *transforms: str,
    grammar: Literal["native", "imgproxy", "thumbor"] = "native",
    cloudfront: bool = False,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Signed delivery URLs of any transforms of an image.

    Parameters
    ----------
    image
        Id of the image, or the address of a picture that lies elsewhere.
    transforms
        Like `w=300,h=200,fit=cover.webp`; docs/reference/transforms.md has every option.
        imgproxy's are like `rs:fill:300:200@webp`, thumbor's like `300x200/smart`.
    grammar
        How the transforms are written, and the URLs.
    cloudfront
        Instead, where CloudFront has the stored renditions and, for its owner, the original.

    """
    if cloudfront:
        if transforms:
            raise WrongUsage("CloudFront has what is stored; it makes no transforms.")
        with server.connect() as client:
            stored = client.at_cloudfront(image)
        if json:
            output.say_json(stored)
            return 0
        originals = [stored["original"]] if stored["original"] else []
        found = [*(each["url"] for each in stored["renditions"]), *originals]
    else:
        if not transforms:
            raise WrongUsage("Name at least one transform, like w=300.webp.")
        if "://" in image and grammar != "native":
            raise WrongUsage("Other grammars' own clients sign URLs of what lies elsewhere.", field="grammar")
        with server.connect() as client:
            made = client.source_urls(image, transforms) if "://" in image else client.urls(image, transforms, grammar=grammar)
        if json:
            output.say_json(made)
            return 0
        found = made["urls"]
    for each in found:
        output.out().print(each, soft_wrap=True, highlight=False)
    return 0


def reindex(*, server: Server = HERE, json: Json = False) -> int:
    """Build the search index anew from the catalog, then switch to it. Searches go on meanwhile."""
    console = output.err()
    with server.connect() as client, console.status("Building the search index anew"):
        documents = client.reindex()
    sentence = f"The search index is new and holds {output.many(documents, 'image')}."
    output.say({"documents": documents}, sentence, as_json=json)
    return 0
