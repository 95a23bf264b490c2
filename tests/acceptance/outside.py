"""Little web servers for acceptance tests: what lies outside of Safelight. Each is asked by the server under test, over a socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Outside(ThreadingHTTPServer):
    """A web server on a free port that holds an answer back until `may_answer` is set."""

    daemon_threads = True

    def __init__(self, handler: type[Answers]) -> None:
        self.may_answer = threading.Event()
        super().__init__(("127.0.0.1", 0), handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @contextmanager
    def serving(self) -> Iterator[Outside]:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            self.may_answer.set()
            self.shutdown()
            self.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """Settings of a server that may ask this one, and nobody else, and waits for long."""
        return {
            "SAFELIGHT_OUTBOUND__NETWORKS": "127.0.0.1/32",
            "SAFELIGHT_OUTBOUND__PORTS": str(self.port),
            "SAFELIGHT_OUTBOUND__IDLE_S": "120",
            "SAFELIGHT_OUTBOUND__TOTAL_S": "120",
        }


class Answers(BaseHTTPRequestHandler):
    """Answers that may come when whoever asked has been killed."""

    def write(self, data: bytes) -> None:
        try:
            self.wfile.write(data)
            self.wfile.flush()
        except OSError:
            self.close_connection = True

    def end_headers(self) -> None:
        try:
            super().end_headers()
        except OSError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Quiet."""
