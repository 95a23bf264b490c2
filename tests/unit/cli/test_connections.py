"""How many connections a process may hold, by the limit of open files."""

from __future__ import annotations

import resource

import pytest

from safelight.cli.server import OTHER_FILES, connections

INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("limits", "raised_to", "held"),
    (
        ((1024, 65_536), 4096 + OTHER_FILES, 4096),
        ((1024, INFINITE), 4096 + OTHER_FILES, 4096),
        ((1024, 2048), 2048, 2048 - OTHER_FILES),
        ((1024, 1024), None, 1024 - OTHER_FILES),
        ((20_000, 20_000), None, 4096),
        ((INFINITE, INFINITE), None, 4096),
        ((256, 256), None, 64),
    ),
)
def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be(monkeypatch, limits, raised_to, held):
    told = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: told.append(both))

    assert connections(4096) == held
    assert told == ([(raised_to, limits[1])] if raised_to else [])
