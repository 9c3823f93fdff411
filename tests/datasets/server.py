"""An HTTP server on loopback that misbehaves as asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread


@dataclass
class Reply:
    """One answer: what is sent, and how it goes wrong."""

    body: bytes = b""
    status: int = 200
    media_type: str = "text/csv"
    headers: dict[str, str] = field(default_factory=dict)
    cut_to: int | None = None  # bytes sent of those that Content-Length promises
    chunked: bool = False  # no Content-Length
    drip: float = 0.0  # seconds between bytes
    silence: float = 0.0  # seconds before anything is sent


@dataclass
class Server:
    """`replies` are given in turn, the last one again and again; `requests` are the paths asked for."""

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    stopping: Event = field(default_factory=Event)

    def next_reply(self) -> Reply:
        return self.replies[min(len(self.requests), len(self.replies)) - 1]


@contextmanager
def serving(*replies: Reply) -> Iterator[Server]:
    """Run a server with these replies on a free port of 127.0.0.1 until the block ends."""
    server = Server(replies=list(replies))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.requests.append(self.path)
            self.close_connection = True
            with suppress(ConnectionError):  # the client had enough, as some tests want
                _send(self, server.next_reply(), server.stopping)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Listener(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = True

    with Listener(("127.0.0.1", 0), Handler) as listener:
        server.url = f"http://127.0.0.1:{listener.server_port}"
        thread = Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.stopping.set()
            listener.shutdown()
            thread.join()


def _send(handler: BaseHTTPRequestHandler, reply: Reply, stopping: Event) -> None:
    stopping.wait(reply.silence)
    handler.send_response(reply.status)
    handler.send_header("Content-Type", reply.media_type)
    handler.send_header("Connection", "close")
    for name, value in reply.headers.items():
        handler.send_header(name, value)
    body = reply.body if reply.cut_to is None else reply.body[: reply.cut_to]
    if reply.chunked:
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(reply.body), body))
        if reply.cut_to is None:
            handler.wfile.write(b"0\r\n\r\n")
        return
    if "Content-Length" not in reply.headers:
        handler.send_header("Content-Length", str(len(reply.body)))
    handler.end_headers()
    if not reply.drip:
        handler.wfile.write(body)
        return
    for k in range(len(body)):
        handler.wfile.write(body[k : k + 1])
        handler.wfile.flush()
        if stopping.wait(reply.drip):
            return


def seconds(start: float) -> float:
    """Seconds since `start`, a time.monotonic()."""
    return time.monotonic() - start
