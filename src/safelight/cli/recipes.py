"""`recipe`: how the tenant's pictures are developed."""

from __future__ import annotations

import json as jsonlib
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from safelight.cli import WrongUsage, output
from safelight.cli.connection import HERE, Json, Server
from safelight.cli.naming import album_id

if TYPE_CHECKING:
    from safelight.client import Recipe

recipe = App(name="recipe", help="How the tenant's pictures are developed: recipes, and which pictures they are for.")


@recipe.command(name="list")
def list_recipes(*, server: Server = HERE, json: Json = False) -> int:
    """List the recipes in their newest versions, with the pictures that they are for."""
    with server.connect() as client:
        found = client.recipes()
    if json:
        output.say_json({"recipes": found})
        return 0
    rows = output.table("recipe", "says", "is for")
    for each in found:
        rows.add_row(_reference(each), output.text(_says(each)), output.text(_is_for(each)))
    output.listing(found, rows, "There is no recipe: pictures are developed as the settings say.")
    return 0


@recipe.command
def show(recipe: str, /, *, server: Server = HERE, json: Json = False) -> int:
    """Show what a recipe says, as JSON that `set` takes.

    Parameters
    ----------
    recipe
        Its name, or a version of it like `shop@2`.

    """
    with server.connect() as client:
        found = client.recipe(recipe)
    if json:
        output.say_json(found)
    else:
        output.err().print(output.text(f"{_reference(found)} of {found['versions']}; {_is_for(found)}."))
        output.out().print(output.plain(jsonlib.dumps(found["recipe"], ensure_ascii=False)), soft_wrap=True)
    return 0


@recipe.command(name="set")
def set_recipe(
    name: str, file: Annotated[str, Parameter(allow_leading_hyphen=True)], /, *, server: Server = HERE, json: Json = False
) -> int:
    """Say what a recipe means for pictures that come in from now on: its next version.

    Parameters
    ----------
    name
        Small letters, digits, dashes and underscores.
    file
        TOML or JSON, `-` for standard input. docs/howto/develop-by-recipe.md has the fields.

    """
    document = _read(file)
    with server.connect() as client:
        made = client.set_recipe(name, document)
    output.say(made, f"{_reference(made)} is in force; {_is_for(made)}.", as_json=json)
    return 0


@recipe.command
def remove(name: str, /, *, server: Server = HERE, json: Json = False) -> int:
    """Remove a recipe with every version, once it is for no pictures. What was developed by it stays.

    Parameters
    ----------
    name
        Its name.

    """
    with server.connect() as client:
        client.remove_recipe(name)
    output.say({"name": name}, f"{name} is removed.", as_json=json)
    return 0


@recipe.command
def apply(
    name: str,
    /,
    *,
    default: bool = False,
    album: tuple[str, ...] = (),
    tag: tuple[str, ...] = (),
    nowhere: bool = False,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Say which pictures a recipe is for as they come in: these, and no others.

    An album goes before a tag, tags in the order of the alphabet, and both before the
    default. Pictures that are here already stay as they are.

    Parameters
    ----------
    name
        Its name.
    default
        Those for which there is no other recipe.
    album
        Those that come into this album, by title or id. May be repeated.
    tag
        Those that come with this tag. May be repeated.
    nowhere
        None.

    """
    if nowhere == bool(default or album or tag):
        raise WrongUsage("Say which pictures by --default, --album and --tag, or --nowhere.")
    with server.connect() as client:
        albums = [album_id(client, each) for each in album]
        made = client.apply_recipe(name, default=default, albums=albums, tags=tag)
    output.say(made, f"{_reference(made)}: {_is_for(made)}.", as_json=json)
    return 0


def _read(file: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{file} cannot be read: {error}.") from None
    try:
        document = jsonlib.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise WrongUsage(f"{file} is neither TOML nor JSON: {error}.") from None
    return dict(document)


def _reference(recipe: Recipe) -> str:
    return f"{recipe['name']}@{recipe['version']}"


def _says(recipe: Recipe) -> str:
    said = {name: value for name, value in recipe["recipe"].items() if value not in (None, {}, "")}
    words = {
        name: ",".join(value)
        if isinstance(value, list)
        else ",".join(k if isinstance(v, dict) else f"{k} {v}" for k, v in value.items())
        if isinstance(value, dict)
        else value
        for name, value in said.items()
    }
    return "; ".join(f"{name} {value}" for name, value in words.items())


def _is_for(recipe: Recipe) -> str:
    places = recipe["places"]
    words = [*(f"album {each}" for each in places["albums"]), *(f"tag {each}" for each in places["tags"])]
    if places["default"]:
        words.append("all others")
    return f"for {', '.join(words)}" if words else "for no pictures"
