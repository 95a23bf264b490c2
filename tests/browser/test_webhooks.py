"""The receiver in JavaScript that the how-to shows, by the Node that drives the browser."""

from __future__ import annotations

from playwright._impl._driver import compute_driver_executable
from tests.docs.test_webhooks import example, verifies


def test_the_example_in_javascript_verifies(tmp_path):
    (tmp_path / "receiver.mjs").write_text(example("js"))
    node, _ = compute_driver_executable()
    verifies([node, str(tmp_path / "receiver.mjs")])
