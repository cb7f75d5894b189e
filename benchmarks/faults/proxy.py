"""A faulty S3: moto's server behind a proxy that answers as it is told, or is cut off from one process."""

from __future__ import annotations

import http.client
import logging
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import psutil
from moto.server import ThreadedMotoServer

BUCKET = "faults"
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
ERROR_CODES = {
    409: "ConditionalRequestConflict",
    412: "PreconditionFailed",
    429: "TooManyRequests",
    500: "InternalError",
    503: "SlowDown",
    504: "GatewayTimeout",
}
NOT_FORWARDED = ("connection", "transfer-encoding", "content-length", "date", "server")


@dataclass(frozen=True)
class Answer:
    """What the proxy answers instead of the server.

    status: HTTP status; 0 closes the connection without an answer.
    forward: whether the request reaches the server all the same.
    wait_seconds: how long the proxy waits before it answers: longer than the client, for a time-out.
    """

    status: int = 0
    forward: bool = False
    wait_seconds: float = 0.0


class FaultyS3:
    """`direct`: the endpoint of the server itself; `endpoint`: that of the proxy.

    Args:
        refuse_every: One request in so many is answered with 503; 0 for none.
        answer: Gets the command and the path of a request, and how many with both came before; None for the server's answer.
        conditional: Whether `If-None-Match` reaches the server; False for a service that ignores it.
    """

    def __init__(
        self,
        refuse_every: int = 0,
        *,
        answer: Callable[[str, str, int], Answer | None] = lambda command, path, count: None,
        conditional: bool = True,
    ) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # not a line for each request
        self._moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._moto.start()
        host, port = self._moto.get_host_and_port()
        self.direct = f"http://{host}:{port}"
        urllib.request.urlopen(urllib.request.Request(f"{self.direct}/{BUCKET}", method="PUT")).close()
        self._proxy = _Proxy(self.direct, refuse_every, answer, conditional)
        self.endpoint = f"http://127.0.0.1:{self._proxy.server_port}"
        threading.Thread(target=self._proxy.serve_forever, daemon=True).start()

    @property
    def requests(self) -> int:
        """How many requests came to the proxy."""
        return self._proxy.requests

    @property
    def refused(self) -> int:
        """How many of them were answered with 503."""
        return self._proxy.refused

    @property
    def answered(self) -> int:
        """How many requests were answered as `answer` told."""
        return self._proxy.answered

    def tell(self, answer: Callable[[str, str, int], Answer | None]) -> None:
        """Answer so from now on; requests are counted from 0 again."""
        with self._proxy.lock:
            self._proxy.answer, self._proxy.answered = answer, 0
            self._proxy.counts.clear()

    @contextmanager
    def cut(self, pid: int) -> Iterator[None]:
        """Nothing passes between process `pid` and the store: requests wait, and are lost when the block ends."""
        self._proxy.healed.clear()
        self._proxy.cut_pid = pid
        try:
            yield
        finally:
            self._proxy.cut_pid = None
            self._proxy.healed.set()

    def close(self) -> None:
        self._proxy.shutdown()
        self._moto.stop()


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, target: str, refuse_every: int, answer: Callable[[str, str, int], Answer | None], conditional: bool
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer, self.conditional, self.answered = answer, conditional, 0
        self.counts: Counter[tuple[str, str]] = Counter()
        self.target, self.refuse_every = urlsplit(target), refuse_every
        self.requests = self.refused = 0
        self.lock = threading.Lock()
        self.cut_pid: int | None = None
        self.healed = threading.Event()

    def refuses(self) -> bool:
        """Whether the next request is refused: each fifth, in the order in which they come."""
        with self.lock:
            self.requests += 1
            refused = bool(self.refuse_every) and self.requests % self.refuse_every == 0
            self.refused += refused
            return refused

    def told(self, command: str, path: str) -> Answer | None:
        """The answer to the next request, if it is not the server's."""
        with self.lock:
            count = self.counts[command, path]
            self.counts[command, path] += 1
            answer = self.answer(command, path, count)
            self.answered += answer is not None
            return answer

    def is_cut(self, client_port: int) -> bool:
        """Whether the connection belongs to the process that is cut off."""
        if (pid := self.cut_pid) is None:
            return False
        try:
            connections = psutil.Process(pid).net_connections("tcp")
        except psutil.Error:
            return False
        return any(connection.laddr and connection.laddr.port == client_port for connection in connections)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Proxy

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self._lost():
            return
        if self.server.refuses():
            self._answer(503, [("Content-Type", "application/xml")], SLOW_DOWN)
            return
        told = self.server.told(self.command, urlsplit(self.path).path)
        if told is not None and not told.forward:
            self._answer_as_told(told)
            return
        if not self.server.conditional:
            del self.headers["If-None-Match"]
        upstream = http.client.HTTPConnection(str(self.server.target.hostname), self.server.target.port, timeout=60)
        try:
            upstream.request(self.command, self.path, body, dict(self.headers.items()))
            response = upstream.getresponse()
            data, headers = response.read(), response.getheaders()
        finally:
            upstream.close()
        if told is not None:
            self._answer_as_told(told)
            return
        length = response.getheader("Content-Length") if self.command == "HEAD" else None
        if not self._lost():
            self._answer(response.status, headers, data, length)

    def _answer_as_told(self, answer: Answer) -> None:
        time.sleep(answer.wait_seconds)
        if not answer.status:
            self.close_connection = True
            return
        body = f"<Error><Code>{ERROR_CODES[answer.status]}</Code><Message>as told</Message></Error>".encode()
        self._answer(answer.status, [("Content-Type", "application/xml")], body)

    def _lost(self) -> bool:
        """If the client is cut off, wait until the cut ends and close the connection without an answer."""
        if not self.server.is_cut(self.client_address[1]):
            return False
        self.server.healed.wait()
        self.close_connection = True
        return True

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, length: str | None = None) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in NOT_FORWARDED:
                self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _forward

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is logged."""
