"""A load generator that costs little beside the service it loads: raw sockets, requests made once, responses skimmed.

Run as a process of its own: `python -m benchmarks.load URL PHOTO --seconds 10 --clients 8 [--rate 400]`. Without a rate
each client sends its next request when it has its response (closed loop: saturation); with one, requests are due on a
schedule whether or not the service keeps up (open loop), and waits count from when a request was due, not from when it
could be sent, so that a stall is paid by every request it held up. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(slots=True)
class Tally:
    """What came of one client's requests.

    Attributes:
        seconds: waits by status.
        done: responses of status 200 that came before the load ended; what came after would flatter a long queue.
        broken: connections that broke.
    """

    seconds: dict[int, list[float]] = field(default_factory=dict)
    done: int = 0
    broken: int = 0

    def add(self, status: int, seconds: float, *, in_time: bool) -> None:
        """Count one response."""
        self.seconds.setdefault(status, []).append(seconds)
        self.done += status == 200 and in_time


class Client:
    """One kept-alive connection."""

    def __init__(self, address: tuple[str, int], request: bytes, timeout_s: float = 60.0) -> None:
        self._address = address
        self._request = request
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self.head = b""
        """Status line and headers of the last response, in lower case."""

    def ask(self) -> tuple[int, bytes]:
        """Send the request; status and body of the response.

        Raises:
            OSError: the connection broke.
        """
        reused = self._socket is not None
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, self._timeout_s)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(self._request)
            return self._answer(self._socket)
        except OSError:
            self.close()
            if reused:  # closed while it was idle, as any kept connection may be
                return self.ask()
            raise

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _answer(self, connection: socket.socket) -> tuple[int, bytes]:
        data = bytearray()
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._more(connection)
        self.head = head = bytes(data[:end]).lower()
        length = int(head.partition(b"\r\ncontent-length:")[2].split(b"\r\n", 1)[0])
        while len(data) < end + 4 + length:
            data += self._more(connection)
        if b"connection: close" in head:
            self.close()
        return int(head[9:12]), bytes(data[end + 4 :])

    @staticmethod
    def _more(connection: socket.socket) -> bytes:
        if not (chunk := connection.recv(262_144)):
            raise ConnectionResetError("the service closed the connection")
        return chunk


def post(
    url: str, photo: bytes, media_type: str = "image/jpeg", path: str = "/enhance"
) -> tuple[tuple[str, int], bytes]:
    """Address and bytes of a POST of `photo`."""
    parts = urlsplit(url)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {media_type}\r\n"
        f"Content-Length: {len(photo)}\r\n\r\n"
    )
    return (parts.hostname or "127.0.0.1", parts.port or 80), head.encode() + photo


def load(address: tuple[str, int], request: bytes, *, seconds: float, clients: int, rate: float | None) -> Tally:
    """Load the service and count what came of it."""
    tallies = [Tally() for _ in range(clients)]
    start = time.monotonic()

    def run(index: int) -> None:
        client, tally = Client(address, request), tallies[index]
        due = start + (index / rate if rate else 0.0)
        while (now := time.monotonic()) < start + seconds and due < start + seconds:
            if rate and due > now:
                time.sleep(due - now)
            began = due if rate else time.monotonic()
            try:
                status, _ = client.ask()
                now = time.monotonic()
                tally.add(status, now - began, in_time=now <= start + seconds)
            except OSError:
                tally.broken += 1
            due += clients / rate if rate else 0.0
        client.close()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = Tally(done=sum(tally.done for tally in tallies), broken=sum(tally.broken for tally in tallies))
    for tally in tallies:
        for status, waits in tally.seconds.items():
            total.seconds.setdefault(status, []).extend(waits)
    return total


def summary(tally: Tally, seconds: float) -> dict[str, object]:
    """Counts, rates and waits by status."""
    counts = Counter({status: len(waits) for status, waits in tally.seconds.items()})
    return {
        "offered_per_s": round(counts.total() / seconds, 1),
        "done_per_s": round(tally.done / seconds, 2),
        "broken": tally.broken,
        "by_status": {
            str(status): {
                "count": len(waits),
                "p50_ms": round(1000 * statistics.median(waits), 2),
                "p99_ms": round(1000 * sorted(waits)[int(0.99 * (len(waits) - 1))], 2),
                "max_ms": round(1000 * max(waits), 2),
            }
            for status, waits in sorted(tally.seconds.items())
        },
    }


def main() -> None:
    """Load a service and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("url")
    parser.add_argument("photo", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--request", type=Path, help="file that holds the very bytes to send instead")
    parser.add_argument("--waits", action="store_true", help="print every wait too")
    arguments = parser.parse_args()
    address, request = post(arguments.url, arguments.photo.read_bytes())
    if arguments.request is not None:
        request = arguments.request.read_bytes()
    tally = load(address, request, seconds=arguments.seconds, clients=arguments.clients, rate=arguments.rate)
    found = summary(tally, arguments.seconds)
    if arguments.waits:
        found["waits_ms"] = {
            str(status): [round(1000 * s, 1) for s in waits] for status, waits in tally.seconds.items()
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
