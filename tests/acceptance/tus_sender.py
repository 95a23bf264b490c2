"""A client of tus in a process of its own, so that it can be killed: sends a file from where the server has it, in chunks.

    $ echo "$KEY" | python tests/acceptance/tus_sender.py http://127.0.0.1:8000/tus/01k... sea.jpg 5000000

Says on standard output how far it is, a line each: where it goes on (`at`), what has left it (`sent`), what was acknowledged
(`kept`). Ends with 0 when the server has every byte and with GONE when the server is; any other end is a refusal.
"""

from __future__ import annotations

import http.client
import os
import sys
from urllib.parse import urlsplit

BLOCK_BYTES = 128 * 1024
GONE = 75


def say(word: str, offset: int) -> None:
    sys.stdout.write(f"{word} {offset}\n")  # in one piece: whoever is killed leaves no half of a line
    sys.stdout.flush()


def send(url: str, path: str, chunk_bytes: int, key: str) -> None:
    """Until the server has the whole file. Raises OSError or HTTPException when it is gone."""
    address = urlsplit(url)
    headers = {"tus-resumable": "1.0.0", "authorization": f"Bearer {key}"}
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        while True:
            connection.request("HEAD", address.path, headers=headers)
            offset = int(understood(connection, {200}).headers["upload-offset"])
            say("at", offset)
            while offset < size:
                end = min(size, offset + chunk_bytes)
                connection.putrequest("PATCH", address.path)
                told = {
                    "content-type": "application/offset+octet-stream",
                    "upload-offset": offset,
                    "content-length": end - offset,
                }
                for name, value in (headers | told).items():
                    connection.putheader(name, str(value))
                connection.endheaders()
                file.seek(offset)
                for begin in range(offset, end, BLOCK_BYTES):
                    block = file.read(min(BLOCK_BYTES, end - begin))
                    connection.send(block)
                    say("sent", begin + len(block))
                answer = understood(connection, {204, 409, 423})
                if answer.status != 204:
                    break  # what an earlier client sent has come in meanwhile: ask again
                offset = int(answer.headers["upload-offset"])
                say("kept", offset)
            else:
                return


def understood(connection: http.client.HTTPConnection, expected: set[int]) -> http.client.HTTPResponse:
    answer = connection.getresponse()
    text = answer.read()
    if answer.status == 503:
        raise ConnectionError("not now")
    if answer.status not in expected:
        sys.exit(f"{answer.status} {text[:300]!r}")
    return answer


if __name__ == "__main__":
    try:
        send(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.stdin.readline().strip())
    except (OSError, http.client.HTTPException):
        sys.exit(GONE)
