"""Open pages without a browser: requests the same data as the operator's page, at the same rate.

    python -m benchmarks.line.pages PORT COUNT

Every page has its own connection, reads `/board` every 0.7 s and fetches the pictures that a browser would
not have in its cache. Runs until terminated.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import sys
import threading
import time

EVERY_S = 0.7
_NICE = 10  # on a real line the browsers run on other computers


def main() -> int:
    """Open the pages and keep them open."""
    port, count = int(sys.argv[1]), int(sys.argv[2])
    os.nice(_NICE)
    for _ in range(count):
        threading.Thread(target=page, args=(port,), daemon=True).start()
    threading.Event().wait()
    return 0


def page(port: int) -> None:
    """Run one page, forever."""
    time.sleep(random.random() * EVERY_S)  # noqa: S311 (pages are not opened at one moment)
    seen: set[str] = set()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    while True:
        try:
            board = json.loads(fetch(connection, "/board"))
            for path in wanted(board):
                if path not in seen:
                    fetch(connection, path)
                    seen.add(path)
        except (OSError, http.client.HTTPException):
            connection.close()
        time.sleep(EVERY_S)


def fetch(connection: http.client.HTTPConnection, path: str) -> bytes:
    """Return one answer, on the open connection."""
    connection.request("GET", path)
    return connection.getresponse().read()


def wanted(board: dict[str, object]) -> list[str]:
    """Return the pictures shown by the page."""
    shown, bad = board["shown"], board["bad"]
    paths = []
    if isinstance(shown, dict) and shown["picture"]:
        paths.append(f"/picture/{shown['part_id']}?kind=heat")
    if isinstance(bad, list):
        paths += [f"/picture/{part['part_id']}?kind=small" for part in bad if part["picture"]]
    return paths


if __name__ == "__main__":
    sys.exit(main())
