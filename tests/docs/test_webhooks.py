"""The receivers of docs/howto/receive-webhooks.md, run as they stand, take what Safelight signs and nothing else.

The one in JavaScript is tried by tests/browser, where there is a Node.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from safelight.signing.webhooks import headers, new_secret, secret_text

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "receive-webhooks.md"
BODY = b'{"type":"ping","timestamp":"2026-06-21T12:00:00Z","data":{}}'


def example(language):
    [code] = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return code


def test_the_example_in_python_verifies(tmp_path):
    (tmp_path / "receiver.py").write_text(example("python"))
    verifies([sys.executable, str(tmp_path / "receiver.py")])


def verifies(command):
    """The receiver that this starts says 204 to what is signed with its secret, 401 to all else."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    secret, older = new_secret(), new_secret()
    environment = os.environ | {"WEBHOOK_SECRET": secret_text(secret), "PORT": str(port)}
    receiver = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )

    def answer(signed, body=BODY):
        return httpx.post(f"http://127.0.0.1:{port}/", content=body, headers=signed, timeout=30).status_code

    try:
        now = int(time.time())
        signed = headers([secret], id="msg_1", at_s=now, body=BODY)
        deadline = time.monotonic() + 60
        while True:
            try:
                assert answer(signed) == 204
                break
            except httpx.TransportError:
                assert receiver.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
        assert answer(headers([older, secret], id="msg_2", at_s=now, body=BODY)) == 204
        assert answer(headers([older], id="msg_3", at_s=now, body=BODY)) == 401
        assert answer(signed, BODY + b" ") == 401
        assert answer(signed | {"webhook-id": "msg_4"}) == 401
        assert answer(headers([secret], id="msg_5", at_s=now - 3600, body=BODY)) == 401
        assert answer({}) == 401
    finally:
        receiver.kill()
        said, _ = receiver.communicate(timeout=30)
    assert [line.split()[:2] for line in said.splitlines() if line.startswith("msg_")] == [["msg_1", "ping"], ["msg_2", "ping"]]
