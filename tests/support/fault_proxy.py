"""A proxy before an S3 server that breaks what passes, as told: what servers and networks do now and then.

    with fault_proxy(server.endpoint_url, at_random(seed=1, chances={Fault("reset"): 0.1})) as proxy:
        open_store("s3://bucket", proxy.url)

Each connection has a thread, and its own to the server; what is not broken passes untouched, so signatures hold.
"""

import random
import select
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO, Literal
from urllib.parse import urlsplit

Kind = Literal["error", "slow down", "reset", "truncated", "stall", "wrong bytes"]

BLOCK = 1 << 18
ANSWERS = {
    "error": ("500 Internal Server Error", "InternalError", "We encountered an internal error. Please try again."),
    "slow down": ("503 Slow Down", "SlowDown", "Please reduce your request rate."),
}


@dataclass(frozen=True)
class Fault:
    """What happens to one request.

    error, slow down  the answer is 500 InternalError or 503 SlowDown; the server never hears of the request, unless
                      `accepted`: then it did all that was asked
    reset             the connection is reset after `after` bytes of the body
    truncated         the body ends after `after` bytes, and the connection with it, as if that were all
    stall             nothing more comes after `after` bytes of the body, for `seconds`
    wrong bytes       the body has its length and some bytes that are wrong

    Without `after`, half of a GET's answer comes, and nothing at all of any other's, which the server accepted.
    """

    kind: Kind
    after: int | None = None
    seconds: float = 30
    accepted: bool = False


Script = Callable[[str, str, str | None, int], Fault | None]
"""From method, path with query, Range header and the number of such requests before, what happens to a request."""


def at_random(seed: int, chances: Mapping[Fault, float], methods: tuple[str, ...] = ("GET",)) -> Script:
    """Each fault by its probability: drawn for the request, so neither order nor bucket's name changes the draws."""

    def draw(method: str, path: str, ranged: str | None, attempt: int) -> Fault | None:
        if method not in methods:
            return None
        below_bucket = path.lstrip("/").partition("/")[2]
        at = random.Random(f"{seed} {method} {below_bucket} {ranged} {attempt}").random()
        for fault, chance in chances.items():
            if at < chance:
                return fault
            at -= chance
        return None

    return draw


@contextmanager
def fault_proxy(upstream_url: str, faults: Script) -> Iterator["FaultProxy"]:
    """The proxy before `upstream_url`, on a free port of 127.0.0.1."""
    proxy = FaultProxy(upstream_url, faults)
    try:
        yield proxy
    finally:
        proxy.close()


@dataclass(frozen=True)
class _Head:
    """First line and headers of a request or an answer."""

    raw: bytes
    words: list[str]
    headers: dict[str, str]

    @classmethod
    def read(cls, source: BinaryIO) -> "_Head | None":
        """None where the connection ends instead."""
        lines = [source.readline()]
        while lines[-1].strip():
            lines.append(source.readline())
        if not lines[-1]:
            return None
        named = (line.decode("latin-1").partition(":") for line in lines[1:-1])
        headers = {name.lower(): value.strip() for name, _, value in named}
        return cls(b"".join(lines), lines[0].decode("latin-1").split(), headers)

    @property
    def chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "")

    @property
    def endless(self) -> bool:
        """Whether nothing says how long the body is: a request has none, an answer's ends with the connection."""
        return not self.chunked and "content-length" not in self.headers

    @property
    def last(self) -> bool:
        """Whether the connection ends after this one."""
        connection = self.headers.get("connection", "").lower()
        return connection == "close" or (self.raw.startswith(b"HTTP/1.0") and connection != "keep-alive")

    def sized(self, length: int) -> bytes:
        """The head with that length for its body."""
        first, *lines = self.raw.rstrip().split(b"\r\n")
        kept = [line for line in lines if not line.lower().startswith((b"content-length:", b"transfer-encoding:"))]
        return b"\r\n".join([first, *kept, b"Content-Length: %d" % length, b"", b""])


def _body(source: BinaryIO, head: _Head, framed: bool) -> Iterator[bytes]:
    """A body as it comes; where it is chunked, with the frames or without."""
    if not head.chunked:
        left = int(head.headers.get("content-length", -1))
        while left and (block := source.read1(BLOCK if left < 0 else min(left, BLOCK))):  # type: ignore[attr-defined]
            left -= len(block) if left > 0 else 0
            yield block
        return
    while True:
        line = source.readline()
        size = int(line.partition(b";")[0], 16)
        data = source.read(size + 2)
        yield line + data if framed else data[:-2]
        if size == 0:
            return


class FaultProxy:
    """Serves at `url` until it is closed; `asked` and `injected` count requests and faults."""

    def __init__(self, upstream_url: str, faults: Script) -> None:
        at = urlsplit(upstream_url)
        self._upstream = (at.hostname or "127.0.0.1", at.port or 80)
        self._faults = faults
        self._lock = threading.Lock()
        self.closed = threading.Event()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked: Counter[tuple[str, str, str | None]] = Counter()
        self.injected: Counter[Kind] = Counter()
        self.connections = 0
        threading.Thread(target=self._accept, name="fault-proxy", daemon=True).start()

    def close(self) -> None:
        """End every connection and every stall."""
        self.closed.set()
        with self._lock:
            ending = [self._listener, *self._open]
        for each in ending:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits on it, which then closes it
        self._listener.close()

    def _accept(self) -> None:
        while not self.closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), name="fault-proxy-client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        # Broken connections are this proxy's trade: when either side ends, so does the other.
        with suppress(OSError, ValueError), _Link(client, self) as link:
            while not self.closed.is_set() and (request := _Head.read(link.from_client)):
                if not link.pass_on(request, self._next_fault(request)):
                    return

    def _next_fault(self, request: _Head) -> Fault | None:
        key = (request.words[0], request.words[1], request.headers.get("range"))
        with self._lock:
            attempt = self.asked[key]
            self.asked[key] += 1
            fault = self._faults(*key, attempt)
            if fault:
                self.injected[fault.kind] += 1
        return fault

    def connect(self, known: socket.socket | None) -> socket.socket:
        """The connection to the server that is there, or a new one where it has ended."""
        if known and not select.select([known], [], [], 0)[0]:
            return known
        if known:
            known.close()
        server = socket.create_connection(self._upstream)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return server

    def track(self, link: socket.socket, opened: bool) -> None:
        """Know which connections are open, to end them."""
        with self._lock:
            (self._open.add if opened else self._open.discard)(link)


class _Link:
    """A client's connection and the one to the server behind it."""

    def __init__(self, client: socket.socket, proxy: FaultProxy) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client, self.proxy = client, proxy
        self.from_client: BinaryIO = client.makefile("rb", BLOCK)
        self.server: socket.socket | None = None
        self.from_server: BinaryIO | None = None

    def __enter__(self) -> "_Link":
        self.proxy.track(self.client, True)
        return self

    def __exit__(self, *_: object) -> None:
        self.proxy.track(self.client, False)
        for each in (self.from_client, self.client, self.from_server, self.server):
            if each:
                each.close()

    def pass_on(self, request: _Head, fault: Fault | None) -> bool:
        """Serve one request; whether the connection lives on."""
        if fault and fault.kind in ANSWERS and not fault.accepted:
            waits = "expect" in request.headers  # for leave to send its body, which it does not get
            for _ in _body(self.from_client, request, framed=True) if not (waits or request.endless) else ():
                pass
            self._refuse(request, fault, last=waits)
            return not waits
        answer, source = self._ask(request)
        bodiless = request.words[0] == "HEAD" or answer.words[1] in ("204", "304")
        if fault:
            data = b"" if bodiless else b"".join(_body(source, answer, framed=False))
            return self._break(request, fault, answer, data) and not answer.last
        self.client.sendall(answer.raw)
        if not bodiless:
            for block in _body(source, answer, framed=True):
                self.client.sendall(block)
        return not answer.last and (bodiless or not answer.endless)

    def _ask(self, request: _Head) -> tuple[_Head, BinaryIO]:
        """Pass the request on; returns the answer's head and where its body comes from."""
        server = self.proxy.connect(self.server)
        if server is not self.server or not self.from_server:
            self.server, self.from_server = server, server.makefile("rb", BLOCK)
        server.sendall(request.raw)
        answer = None
        if "expect" in request.headers and select.select([server], [], [], 1)[0]:
            answer = self._answer(self.from_server)
            if answer.words[1] == "100":
                self.client.sendall(answer.raw)
        if answer is None or answer.words[1] == "100":
            for block in _body(self.from_client, request, framed=True) if not request.endless else ():
                server.sendall(block)
            while answer is None or answer.words[1] == "100":
                answer = self._answer(self.from_server)
        return answer, self.from_server

    @staticmethod
    def _answer(source: BinaryIO) -> _Head:
        head = _Head.read(source)
        if head is None:
            raise ConnectionError("the server hung up")
        return head

    def _refuse(self, request: _Head, fault: Fault, last: bool) -> None:
        status, code, message = ANSWERS[fault.kind]
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>'
            f"<Resource>{request.words[1]}</Resource><RequestId>fault-proxy</RequestId></Error>"
        ).encode()
        connection = "Connection: close\r\n" if last else ""
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\n{connection}Content-Length: {len(body)}\r\n\r\n"
        self.client.sendall(head.encode() + (b"" if request.words[0] == "HEAD" else body))

    def _break(self, request: _Head, fault: Fault, answer: _Head, data: bytes) -> bool:
        if fault.kind in ANSWERS:
            self._refuse(request, fault, last=answer.last)
            return True
        if fault.kind == "wrong bytes":
            wrong = bytearray(data)
            for at in {0, len(data) // 2, len(data) - 1} if data else ():
                wrong[at] ^= 0x55
            self.client.sendall(answer.sized(len(data)) + wrong)
            return True
        if request.words[0] == "GET" or fault.after is not None:
            sent = len(data) // 2 if fault.after is None else fault.after
            self.client.sendall(answer.sized(len(data)) + data[:sent])
        if fault.kind == "stall":
            self.proxy.closed.wait(fault.seconds)
        if fault.kind == "reset":
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False
