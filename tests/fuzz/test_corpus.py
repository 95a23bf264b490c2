"""Every kept input, replayed: what `make fuzz` has reached or found once is tried again with every change, without a fuzzer."""

from __future__ import annotations

import pytest
from tests.fuzz import kept
from tests.fuzz.targets import TARGETS, Target


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_kept_input_brings_anything_but_a_refusal(name):
    """That some are read keeps the inputs from growing stale: a parser that refused all of them would pass otherwise."""
    inputs = kept.load(name)

    taken = [TARGETS[name].accepts(data) for data in inputs]

    assert any(taken)
    assert len(inputs) >= 2


def test_every_file_of_inputs_has_its_target():
    assert {path.stem for path in kept.CORPUS.iterdir()} == set(TARGETS)


@pytest.mark.parametrize("data", [b"", b"plain", b"\\n", b"\n\r\t\0\xff\\", bytes(range(256))])
def test_an_input_is_one_readable_line_and_comes_back(data):
    line = kept.escaped(data)

    assert line.isascii() and len(line.splitlines()) <= 1
    assert kept.unescaped(line) == data


@pytest.mark.parametrize("error", [KeyError("a"), RecursionError(), UnicodeDecodeError("utf-8", b"", 0, 0, ""), AssertionError()])
def test_what_a_parser_did_not_mean_to_raise_is_a_finding(error):
    def parser(data: bytes) -> bool:
        raise error

    with pytest.raises(type(error)):
        Target("broken", parser, (KeyboardInterrupt,), (), 10).accepts(b"")
