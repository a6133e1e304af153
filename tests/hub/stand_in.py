"""A Hub on this machine: the part of its protocol that the real client uses to make, fill and read a dataset."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_" + "s" * 34
"""The token that this Hub takes; it belongs to `OWNER`."""
OWNER = "me"


@dataclass
class Commit:
    oid: str
    files: dict[str, bytes]
    message: str = ""


@dataclass
class Repo:
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def add(self, branch: str, files: dict[str, bytes], message: str) -> Commit:
        seed = json.dumps([len(self.commits), branch, message, sorted(files)]).encode()
        commit = Commit(hashlib.sha1(seed).hexdigest(), files, message)
        self.commits[commit.oid] = commit
        self.branches[branch] = commit.oid
        return commit

    def at(self, revision: str) -> Commit | None:
        return self.commits.get(self.branches.get(revision, revision))

    def log(self) -> list[str]:
        return [commit.message for commit in self.commits.values()]


class Refused(Exception):
    """An answer other than what was asked for."""

    def __init__(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        self.status, self.body, self.headers = status, body, headers or {}


class StandIn(ThreadingHTTPServer):
    """Start it with `with StandIn() as hub`.

    Attributes:
        repos: the repositories by id.
        requests: method and path of each request.
        failing: what to answer instead, status, headers and body, to a request whose `METHOD /path` has this pattern.
        before: what to do before such a request is answered.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.failing: dict[str, tuple[int, dict[str, str], str]] = {}
        self.before: dict[str, Callable[[], object]] = {}
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> StandIn:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def make(self, repo_id: str, files: dict[str, bytes | str] | None = None, private: bool = True) -> Repo:
        repo = self.repos[repo_id] = Repo(private)
        repo.add("main", {".gitattributes": b"*.parquet filter=lfs\n"}, "initial commit")
        if files:
            repo.add("main", {name: _bytes(text) for name, text in files.items()}, "by hand")
        return repo

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        commit = self.repos[repo_id].at(revision)
        assert commit is not None
        return commit.files

    def card(self, repo_id: str) -> str:
        return self.files(repo_id)["README.md"].decode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer leaves in one piece, else each waits for the client's delayed acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True
    server: StandIn

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        split = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        here = f"{self.command} {split.path}"
        self.server.requests.append(here)
        try:
            for pattern, act in list(self.server.before.items()):
                if re.search(pattern, here):
                    act()
            for pattern, (status, headers, text) in self.server.failing.items():
                if re.search(pattern, here):
                    raise Refused(status, text, headers)
            self._route(split.path, body, parse_qs(split.query))
        except Refused as refused:
            self._answer(refused.status, refused.body, refused.headers)

    def _route(self, path: str, body: bytes, query: dict[str, list[str]]) -> None:
        for methods, pattern, act in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in methods.split():
                act(self, body, query, **{name: unquote(text or "") for name, text in found.groupdict().items()})
                return
        raise Refused(404, {"error": "no such page"})

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, body: object = None, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else _bytes(body if isinstance(body, str) else json.dumps(body))
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @property
    def _known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _found(self, repo_id: str, revision: str = "main") -> tuple[Repo, Commit]:
        """The repository and the commit that are asked for."""
        if "Authorization" in self.headers and not self._known:
            raise Refused(401, {"error": "Invalid"}, {"X-Error-Message": "Invalid credentials in Authorization header"})
        repo = self.server.repos.get(repo_id)
        if repo is None or (repo.private and not self._known):
            raise missing("RepoNotFound", 404 if self._known else 401)
        commit = repo.at(revision or "main")
        if commit is None:
            raise missing("RevisionNotFound")
        return repo, commit

    def whoami(self, body, query):
        self._require_known()
        self._answer(200, {"name": OWNER, "type": "user"})

    def _require_known(self) -> None:
        if not self._known:
            raise Refused(401, {"error": "Invalid token"})

    def create(self, body, query):
        self._require_known()
        said = json.loads(body)
        repo_id = f"{said.get('organization') or OWNER}/{said['name']}"
        if repo_id.split("/")[0] != OWNER:
            raise Refused(403, {"error": "forbidden"}, {"X-Error-Message": f"not a namespace of {OWNER}"})
        page = {"url": f"{self.server.url}/datasets/{repo_id}", "name": repo_id}
        if repo_id in self.server.repos:
            raise Refused(409, {"error": "You already created this dataset repo", **page})
        self.server.make(repo_id, private=said.get("visibility") == "private" or bool(said.get("private")))
        self._answer(200, page)

    def info(self, body, query, repo_id, revision=""):
        repo, commit = self._found(repo_id, revision)
        siblings = [{"rfilename": name} for name in commit.files]
        about = {"id": repo_id, "sha": commit.oid, "private": repo.private, "siblings": siblings}
        self._answer(200, {"_id": "0", "tags": [], "downloads": 0, "likes": 0, "gated": False, **about})

    def branch(self, body, query, repo_id, revision):
        repo, commit = self._found(repo_id)
        if revision in repo.branches:
            raise Refused(409, {"error": "exists"})
        repo.branches[revision] = commit.oid
        self._answer(200, {})

    def preupload(self, body, query, repo_id, revision):
        held = self._found(repo_id, revision)[1].files
        ignored = tuple(line[1:] for line in held.get(".gitignore", b"").decode().split() if line.startswith("*"))
        files = []
        for name in (file["path"] for file in json.loads(body)["files"]):
            lfs = name.endswith(".parquet")
            mode = {"path": name, "uploadMode": "lfs" if lfs else "regular", "oid": _oid(held.get(name), lfs)}
            files.append({**mode, "shouldIgnore": bool(ignored) and name.endswith(ignored)})
        self._answer(200, {"files": files})

    def batch(self, body, query, repo_id):
        self._found(repo_id)
        objects = []
        for wanted in json.loads(body)["objects"]:
            upload = {"upload": {"href": f"{self.server.url}/objects/{wanted['oid']}"}}
            objects.append(wanted if wanted["oid"] in self.server.objects else {**wanted, "actions": upload})
        self._answer(200, {"transfer": "basic", "objects": objects})

    def put(self, body, query, oid):
        if hashlib.sha256(body).hexdigest() != oid:
            raise Refused(400, {"error": "not the object"})
        self.server.objects[oid] = body
        self._answer(200, {})

    def validate(self, body, query):
        self._answer(200, {"errors": [], "warnings": []})

    def commit(self, body, query, repo_id, revision):
        repo, parent = self._found(repo_id, revision)
        header, *lines = [(line["key"], line["value"]) for line in map(json.loads, body.splitlines())]
        pull = "create_pr" in query
        with self.server.lock:
            if not pull and header[1].get("parentCommit") not in (None, repo.branches[revision]):
                raise Refused(412, {"error": "A commit has happened since. Please refresh and try again."})
            files = dict(parent.files)
            for key, value in lines:
                if key == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif key == "lfsFile":
                    files[value["path"]] = self.server.objects[value["oid"]]
                elif key == "deletedFile":
                    del files[value["path"]]
                else:
                    raise Refused(400, {"error": f"unknown line {key}"})
            number = sum(branch.startswith("refs/pr/") for branch in repo.branches) + 1
            made = repo.add(f"refs/pr/{number}" if pull else revision, files, header[1]["summary"])
        page = f"{self.server.url}/datasets/{repo_id}"
        answer = {"success": True, "commitOid": made.oid, "commitUrl": f"{page}/commit/{made.oid}"}
        self._answer(200, answer | ({"pullRequestUrl": f"{page}/discussions/{number}"} if pull else {}))

    def tree(self, body, query, repo_id, revision, path):
        files = self._found(repo_id, revision)[1].files
        prefix = f"{path}/" if path else ""
        recursive = query.get("recursive", ["false"])[0].lower() == "true"
        entries: dict[str, dict[str, object]] = {}
        for name in files:
            if not name.startswith(prefix):
                continue
            rest = name.removeprefix(prefix).split("/")
            for depth in range(1, len(rest)):
                if recursive or depth == 1:
                    folder = prefix + "/".join(rest[:depth])
                    entries[folder] = {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
            if recursive or len(rest) == 1:
                entries[name] = _entry(name, files[name])
        if not entries:
            raise missing("EntryNotFound")
        self._answer(200, list(entries.values()))

    def paths(self, body, query, repo_id, revision):
        files = self._found(repo_id, revision)[1].files
        asked = json.loads(body)["paths"] if body[:1] == b"{" else parse_qs(body.decode()).get("paths", [])
        found = [_entry(name, files[name]) for name in asked if name in files]
        folders = [name for name in asked if any(path.startswith(f"{name}/") for path in files)]
        self._answer(200, [*found, *({"type": "directory", "path": name, "oid": "0" * 40} for name in folders)])

    def resolve(self, body, query, repo_id, revision, path):
        commit = self._found(repo_id, revision)[1]
        if path not in commit.files:
            raise missing("EntryNotFound", headers={"X-Repo-Commit": commit.oid})
        data = commit.files[path]
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted is None:
            self._answer(200, data, headers)
            return
        first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
        if first > last:
            raise Refused(416, "", {**headers, "Content-Range": f"bytes */{len(data)}"})
        self._answer(206, data[first : last + 1], {**headers, "Content-Range": f"bytes {first}-{last}/{len(data)}"})


_ID = r"(?P<repo_id>[^/]+/[^/]+)"
ROUTES = [
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate),
    ("GET HEAD", rf"/api/datasets/{_ID}", Handler.info),
    ("GET HEAD", rf"/api/datasets/{_ID}/revision/(?P<revision>[^/]+)", Handler.info),
    ("POST", rf"/api/datasets/{_ID}/branch/(?P<revision>[^/]+)", Handler.branch),
    ("POST", rf"/api/datasets/{_ID}/preupload/(?P<revision>[^/]+)", Handler.preupload),
    ("POST", rf"/datasets/{_ID}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/objects/(?P<oid>\w+)", Handler.put),
    ("POST", rf"/api/datasets/{_ID}/commit/(?P<revision>[^/]+)", Handler.commit),
    ("GET", rf"/api/datasets/{_ID}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?", Handler.tree),
    ("POST", rf"/api/datasets/{_ID}/paths-info/(?P<revision>[^/]+)", Handler.paths),
    ("GET HEAD", rf"/datasets/{_ID}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
]


def missing(what: str, status: int = 404, headers: dict[str, str] | None = None) -> Refused:
    return Refused(status, {"error": what}, {"X-Error-Code": what, "X-Error-Message": what, **(headers or {})})


def _entry(name: str, data: bytes) -> dict[str, object]:
    return {"type": "file", "path": name, "oid": hashlib.sha1(data).hexdigest(), "size": len(data)}


def _bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def _oid(data: bytes | None, lfs: bool) -> str | None:
    if data is None:
        return None
    return hashlib.sha256(data).hexdigest() if lfs else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
