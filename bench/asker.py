"""Ask for every URL once, so many at a time: the load generator for what is cold, in a process of its own.

    $ python bench/asker.py --clients 4 < urls

One JSON object on standard output: seconds from the first request to the last answer, the time of each, bytes. With --out the bodies
are written too, numbered. An answer other than 200 ends it: figures of errors are no figures.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask for every URL on standard input once, so many at a time.")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    urls = [urlsplit(line) for line in sys.stdin.read().split()]
    numbers, times, sizes, wrong = itertools.count(), [0.0] * len(urls), [0] * len(urls), []

    def work() -> None:
        connection = http.client.HTTPConnection(urls[0].netloc, timeout=300)
        while (number := next(numbers)) < len(urls) and not wrong:
            url = urls[number]
            began = time.perf_counter()
            connection.request("GET", f"{url.path}?{url.query}" if url.query else url.path)
            answer = connection.getresponse()
            body = answer.read()
            times[number], sizes[number] = time.perf_counter() - began, len(body)
            if answer.status != 200:
                wrong.append(f"{answer.status} for {url.path}: {body[:200]!r}")
            elif chosen.out:
                (chosen.out / f"{number:04}").write_bytes(body)

    threads = [threading.Thread(target=work) for _ in range(chosen.clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    if wrong:
        sys.exit(wrong[0])
    ordered = sorted(times)
    print(
        json.dumps(
            {
                "requests": len(urls),
                "seconds": seconds,
                "bytes": sum(sizes) / len(sizes),
                "p50_ms": ordered[len(ordered) // 2] * 1000,
                "p95_ms": ordered[int(len(ordered) * 0.95)] * 1000,
            }
        )
    )


if __name__ == "__main__":
    main()
