"""What REDbot has to say of some URLs, as JSON: `python notes.py URL...`. Runs in REDbot's own environment, see redbot.in."""

from __future__ import annotations

import json
import sys
from configparser import ConfigParser

import thor
from redbot.resource import HttpResource


def main(urls: list[str]) -> None:
    """Each URL with the notes of all requests that were made about it, told on standard output."""
    config = ConfigParser()
    config.read_dict({"redbot": {"enable_local_access": "True"}})
    resources = {}
    left = set(urls)
    for url in urls:
        resource = HttpResource(config["redbot"])
        resource.set_request(url)
        resource.on("check_done", lambda url=url: (left.discard(url), left or thor.stop()))
        resources[url] = resource
    for resource in resources.values():
        resource.check()
    thor.run()
    json.dump({url: told(resource) for url, resource in resources.items()}, sys.stdout)


def told(resource: HttpResource) -> dict[str, object]:
    """The status, and each note of it and of the checks that it led to."""
    checks = {"": resource, **resource.subreqs}
    return {
        "status": resource.response.status_code_str,
        "notes": [
            {
                "check": name,
                "id": type(note).__name__,
                "level": note.level.value,
                "subject": note.subject,
                "summary": note.summary,
            }
            for name, check in checks.items()
            for note in [*check.request.notes, *check.response.notes]
        ],
    }


main(sys.argv[1:])
