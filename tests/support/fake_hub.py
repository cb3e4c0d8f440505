"""The Hugging Face hub as its client sees it: files of repositories, gates and tokens, on a local port.

Without a token everything can be read but what is gated.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

TOKEN = "hf_good"
"""May read everything but what is gated."""
NARROW_TOKEN = "hf_narrow"
"""Is known, but has no right to read gated repositories."""
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    url: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    requests: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, method: str, path: str, token: str) -> tuple[int, dict[str, str], bytes]:
        self.requests.append((method, path))
        match = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repo, revision, name = match.groups() if match else ("", "", "")
        content = self.repos.get(repo, {}).get(name, b"")
        refusals = [
            (
                401,
                "X-Error-Message",
                "Invalid credentials in Authorization header",
                token not in ("", TOKEN, NARROW_TOKEN),
            ),
            (
                401,
                "X-Error-Code",
                "RepoNotFound",
                not token and repo not in self.repos,
            ),  # so as not to tell what is private
            (404, "X-Error-Code", "RepoNotFound", repo not in self.repos),
            (403, "X-Error-Message", "Please enable access to public gated repositories", token == NARROW_TOKEN),
            (403, "X-Error-Code", "GatedRepo", repo in self.gated),
            (404, "X-Error-Code", "RevisionNotFound", revision not in ("main", COMMIT)),
            (404, "X-Error-Code", "EntryNotFound", not content),
        ]
        for status, header, value, applies in refusals:
            if applies:
                return status, {header: value, "X-Repo-Commit": COMMIT}, b""
        return 200, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}, content


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            token = (self.headers["Authorization"] or "").removeprefix("Bearer ")
            status, headers, content = hub.answer(self.command, self.path, token)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
