"""What every suite needs: a test leaves the process's logging as it found it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

# Until a command says otherwise. structlog's own traceback shows the variables of every frame: seconds, where one is a photograph.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Commands that run in this process point the root logger at a standard error that pytest closes with the test."""
    root = logging.getLogger()
    level = root.level
    yield
    for handler in root.handlers[:]:
        if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(handler)
    root.setLevel(level)
