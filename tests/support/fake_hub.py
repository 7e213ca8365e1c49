"""A server that speaks the Hugging Face Hub's HTTP API as far as huggingface_hub asks for it here."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, unquote, urlparse

SHA = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """`files` by repository, `large` by sha256; `asked` are the requests, with who asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.large, self.asked = {}, {}, []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()
    thread = Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        data = self._begin()
        parts = self.parts
        if parts[:3] == ["api", "repos", "create"]:
            if self.headers.get("authorization") != "Bearer hf_secret":
                return self._answer({"error": "Invalid username or password."}, 401)
            said = json.loads(data)
            name = f"{said['organization']}/{said['name']}"
            self.server.files.setdefault(name, {})
            return self._answer({"url": f"{self.server.url}/{name}", "id": name})
        if parts[-1] == "validate-yaml":  # of a card's head
            return self._answer({"errors": [], "warnings": []})
        if parts[-1] == "batch":
            objects = [
                {"oid": each["oid"], "size": each["size"],
                 "actions": {"upload": {"href": f"{self.server.url}/large/{each['oid']}"}}}
                for each in json.loads(data)["objects"]
            ]  # fmt: skip
            return self._answer({"transfer": "basic", "objects": objects})
        name = "/".join(parts[2:4])
        match parts[4]:
            case "preupload":
                return self._answer({"files": [
                    {"path": each["path"], "shouldIgnore": False,
                     "uploadMode": "lfs" if each["path"].endswith(".safetensors") else "regular"}
                    for each in json.loads(data)["files"]
                ]})  # fmt: skip
            case "commit":
                for line in data.splitlines():
                    row = json.loads(line)
                    value = row["value"]
                    if row["key"] == "file":
                        self.server.files[name][value["path"]] = base64.b64decode(value["content"])
                    elif row["key"] == "lfsFile":
                        self.server.files[name][value["path"]] = self.server.large[value["oid"]]
                return self._answer({
                    "success": True, "commitOid": SHA, "commitUrl": f"{self.server.url}/{name}/commit/{SHA}",
                    "hookOutput": "",
                })  # fmt: skip
            case "paths-info":
                form = data.decode()
                wanted = json.loads(form)["paths"] if form.startswith("{") else parse_qs(form)["paths"]
                wanted = [wanted] if isinstance(wanted, str) else wanted
                return self._answer([row for row in self._tree(name, "") if row["path"] in wanted])
        return self._answer({}, 404)

    def do_PUT(self) -> None:
        data = self._begin()
        assert hashlib.sha256(data).hexdigest() == self.parts[1]
        self.server.large[self.parts[1]] = data
        self._answer({})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self._begin()
        parts = self.parts
        name = "/".join(parts[2:4]) if parts[0] == "api" else "/".join(parts[:2])
        if name not in self.server.files:
            return self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        if parts[0] == "api" and "tree" in parts:
            return self._answer(self._tree(name, "/".join(parts[6:])))
        if parts[0] == "api":
            siblings = [{"rfilename": path} for path in self.server.files[name]]
            return self._answer({"id": name, "sha": SHA, "private": False, "siblings": siblings, "tags": []})
        data = self.server.files[name].get("/".join(parts[4:]))
        if data is None:
            return self._answer({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        ranged = self.headers.get("range")
        if ranged is not None:
            start, _, end = ranged.removeprefix("bytes=").partition("-")
            data = data[int(start) : int(end) + 1]
        return self._send(data, 200 if ranged is None else 206, {"ETag": '"x"', "X-Repo-Commit": SHA})

    def _tree(self, name: str, below: str) -> list[dict]:
        files = self.server.files[name]
        folders = {"/".join(path.split("/")[:depth]) for path in files for depth in range(1, path.count("/") + 1)}
        rows = [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)]
        rows += [
            {"type": "file", "path": path, "oid": hashlib.sha1(data).hexdigest(), "size": len(data)}
            for path, data in sorted(files.items())
        ]
        return [row for row in rows if row["path"].startswith(f"{below}/" if below else "")]

    def _begin(self) -> bytes:
        self.parts = [unquote(part) for part in urlparse(self.path).path.strip("/").split("/")]
        self.server.asked.append((self.command, self.path, self.headers.get("authorization")))
        if self.headers.get("transfer-encoding") == "chunked":
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _answer(self, said: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(said).encode(), status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
