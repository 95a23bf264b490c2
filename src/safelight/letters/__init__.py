"""Letters: what Safelight writes to people, as text with an HTML twin. Words by language in `words/*.json`, one layout for all.

Pure: values in, text out. A folder of one's own may replace the layouts and words, file by file and key by key.
Called by services.post.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safelight.errors import WrongState

if TYPE_CHECKING:
    from jinja2 import Environment

FALLBACK: Final = "en"
_HERE: Final = files("safelight.letters")


@dataclass(frozen=True, slots=True)
class Letter:
    """One rendered letter."""

    subject: str
    text: str
    html: str


class Letters:
    """Renders letters. `folder` may hold `letter.txt`, `letter.html` and `words/<language>.json` of one's own."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder: Final = folder

    @cached_property
    def words(self) -> Mapping[str, Mapping[str, str]]:
        """Every language's words by key; what one lacks is taken from English. Raises WrongState for a file that is no such thing."""
        found = {file.name.removesuffix(".json"): json.loads(file.read_text("utf-8")) for file in (_HERE / "words").iterdir()}
        for path in sorted((self._folder / "words").glob("*.json")) if self._folder else ():
            try:
                own = json.loads(path.read_text("utf-8"))
                if not isinstance(own, dict) or not all(isinstance(value, str) for value in own.values()):
                    raise ValueError
            except (OSError, ValueError) as error:
                raise WrongState(f"{path} is not a JSON object of texts.") from error
            found[path.stem] = {**found.get(path.stem, {}), **own}
        return {language: {**found[FALLBACK], **own} for language, own in found.items()}

    def language(self, wanted: str) -> str:
        """The nearest language there is: `de-AT` is answered in `de`, what nobody speaks in English (RFC 4647 section 3.4)."""
        tag = wanted.casefold().strip()
        while tag:
            if tag in self.words:
                return tag
            tag = tag.rpartition("-")[0]
        return FALLBACK

    def render(self, name: str, language: str, **values: Any) -> Letter:
        """The letter of this name. Every word may use `{product}`, `{email}` and `{hours}`."""
        words = self.words[self.language(language)]
        said = {
            part: words.get(f"{name}.{part}", "").format(**values)
            for part in ("subject", "lead", "action", "code", "note", "unasked")
        }
        said["foot"] = words["foot"].format(**values)
        context = {**values, **said, "language": self.language(language)}
        return Letter(
            subject=said["subject"],
            text=self._jinja.get_template("letter.txt").render(context),
            html=self._jinja.get_template("letter.html").render(context),
        )

    @cached_property
    def _jinja(self) -> Environment:
        from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, StrictUndefined, select_autoescape

        ours = PackageLoader("safelight.letters", "layouts")
        return Environment(
            loader=ours if self._folder is None else ChoiceLoader([FileSystemLoader(self._folder), ours]),
            autoescape=select_autoescape(["html"]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
