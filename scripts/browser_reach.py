"""Web pages of other origins try to reach `r1 serve`, in a real browser: Chromium or Firefox, without a window.

    python -m scripts.browser_reach [--browser chromium|firefox-esr]

The pages are on another port of 127.0.0.1 and under a name that means 127.0.0.1, and one of them has made its own name
mean the server (DNS rebinding). They send every kind of request that a page can make a browser send. Without
--allow-origin the server must refuse each of them, which its log shows, since a page cannot read what became of an
image or a form. With it, the page that is allowed must get its answers, and the others must still get none.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any
from urllib.parse import urlencode

NAME = "evil.example"
KEY = "sk-of-the-test"
PATIENCE_S = 60.0

PAGE = """<!doctype html><meta charset="utf-8"><title>A page of another origin</title><body><script>
const target = new URLSearchParams(location.search).get("target");
const key = new URLSearchParams(location.search).get("key");
const site = new URLSearchParams(location.search).get("site");
const question = JSON.stringify({messages: [{role: "user", content: "17+25?"}], temperature: 0});
const chat = target + "/v1/chat/completions";
const results = {};
const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const soon = (promise) => Promise.race([promise, wait(8000).then(() => "nothing happened")]);

async function attempt(name, act) {
  try { results[name] = await soon(act()); } catch (error) { results[name] = "error: " + error.message; }
}
const answer = async (request) => { const got = await request; return got.status + " " + await got.text(); };
const opaque = async (request) => (await request).type;
const loaded = (element, name, url) => new Promise((done) => {
  element.onload = () => done("loaded"); element.onerror = () => done("error"); element[name] = url;
  document.body.append(element);
});
const make = (name) => document.createElement(name);
const withKey = key ? {"Authorization": "Bearer " + key} : {};
const plain = {method: "POST", headers: {"Content-Type": "text/plain"}, body: question};
const json = {method: "POST", headers: {"Content-Type": "application/json", ...withKey}, body: question};
const link = Object.assign(make("link"), {rel: "stylesheet"});

async function form() {
  const frame = make("iframe"), form = make("form"), input = make("input");
  frame.name = "hidden";
  Object.assign(form, {method: "post", action: chat, enctype: "text/plain", target: "hidden"});
  input.name = question.slice(0, -1) + ', "x": "'; input.value = '"}';
  form.append(input); document.body.append(frame, form); form.submit();
  await wait(800);
  return "sent";
}
function stream() {
  return new Promise((done) => {
    const source = new EventSource(target + "/v1/models");
    source.onopen = () => done("opened"); source.onerror = () => { source.close(); done("error"); };
  });
}
function websocket() {
  return new Promise((done) => {
    const opened = new WebSocket(target.replace("http", "ws") + "/v1/chat/completions");
    opened.onopen = () => done("opened"); opened.onerror = () => done("error");
  });
}
function xhr() {
  return new Promise((done) => {
    const request = new XMLHttpRequest();
    request.open("POST", chat); request.onload = () => done(request.status + " " + request.responseText);
    request.onerror = () => done("error"); request.send(question);
  });
}
function sandboxed(source) {
  return new Promise((done) => {
    const frame = make("iframe"); frame.sandbox = "allow-scripts"; frame.srcdoc = source;
    addEventListener("message", (event) => done(event.data)); document.body.append(frame);
  });
}
const INNER = `<script>fetch("${chat}", {method: "POST", body: '${question}'}).then((got) => got.text())
  .then((text) => parent.postMessage("read " + text, "*"), (error) => parent.postMessage("error", "*"))<` + "/script>";
async function streamed() {
  const body = JSON.stringify({...JSON.parse(question), stream: true});
  const got = await fetch(chat, {...json, body});
  const reader = got.body.getReader(), decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const {done, value} = await reader.read();
    if (done) return got.status + " " + text;
    text += decoder.decode(value);
  }
}

(async () => {
  await wait(50);
  await attempt("fetch", () => answer(fetch(target + "/v1/models", {headers: withKey})));
  await attempt("fetch of /health", () => answer(fetch(target + "/health")));
  await attempt("post", () => answer(fetch(chat, plain)));
  await attempt("post of JSON", () => answer(fetch(chat, json)));
  await attempt("streamed answer", streamed);
  await attempt("delete", () => answer(fetch(target + "/api/delete", {method: "DELETE", headers: withKey})));
  await attempt("no-cors fetch", () => opaque(fetch(target + "/v1/models", {mode: "no-cors"})));
  await attempt("no-cors post", () => opaque(fetch(chat, {...plain, mode: "no-cors"})));
  await attempt("no-cors post without a referrer", () => opaque(fetch(chat,
    {...plain, mode: "no-cors", referrerPolicy: "no-referrer"})));
  await attempt("with credentials", () => answer(fetch(target + "/v1/models", {credentials: "include"})));
  await attempt("XMLHttpRequest", xhr);
  await attempt("beacon", async () => { navigator.sendBeacon(chat, question); await wait(500); return "sent"; });
  await attempt("EventSource", stream);
  await attempt("WebSocket", websocket);
  await attempt("form", form);
  await attempt("image", () => loaded(make("img"), "src", target + "/v1/models"));
  await attempt("script", () => loaded(make("script"), "src", target + "/v1/models"));
  await attempt("stylesheet", () => loaded(link, "href", target + "/v1/models"));
  await attempt("frame", () => loaded(make("iframe"), "src", target + "/v1/models"));
  await attempt("object", () => loaded(make("object"), "data", target + "/v1/models"));
  await attempt("sandboxed frame", () => sandboxed(INNER));
  await fetch(site + "/results", {method: "POST", mode: "no-cors", body: JSON.stringify(results)});
})();
</script></body>"""

READS = ("fetch", "fetch of /health", "post of JSON", "streamed answer")
"""What a page that is allowed uses, and can read."""


@dataclass(slots=True)
class Site:
    """Serves PAGE on a port of its own; `results` gets what the page found."""

    results: Queue[dict[str, str]] = field(default_factory=Queue)
    server: ThreadingHTTPServer = field(init=False)

    def __post_init__(self) -> None:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(PAGE.encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                site.results.put(json.loads(body))
                self._answer(b"")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the base class's name
                """Nothing."""

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/html; charset=utf-8")
                self.send_header("content-length", str(len(body)))
                self.send_header("connection", "close")
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    def page(self, origin: str, target: str, key: str = "") -> str:
        """The address of the page, which then asks `target`."""
        return f"{origin}/?" + urlencode({"target": target, "key": key, "site": f"http://127.0.0.1:{self.port}"})


@dataclass(slots=True)
class Rebinding:
    """A port that leads to the page once, and from then on to the server: what a name does that is bound anew."""

    page: int
    server: int
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    def __post_init__(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        return self.listener.getsockname()[1]

    def _accept(self) -> None:
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self._lead, args=(client,), daemon=True).start()

    def _lead(self, client: socket.socket) -> None:
        """By the first request of a connection."""
        first = client.recv(1 << 16)
        path = first.split(b" ", 2)[1] if first.count(b" ") > 1 else b""
        is_page = path.startswith((b"/?", b"/favicon"))
        with client, socket.create_connection(("127.0.0.1", self.page if is_page else self.server)) as there:
            there.sendall(first)
            back = threading.Thread(target=_pump, args=(there, client), daemon=True)
            back.start()
            _pump(client, there)
            back.join(PATIENCE_S)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while part := source.recv(1 << 16):
            sink.sendall(part)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


@dataclass(slots=True)
class Server:
    """`r1 serve --json`. `requests` gets a line of its log for each request."""

    port: int
    requests: Queue[dict[str, Any]]

    def taken(self) -> list[dict[str, Any]]:
        """The requests that it has answered since the last time."""
        found = []
        while True:
            try:
                found.append(self.requests.get(timeout=1.0))
            except Empty:
                return found


def _collect(lines: Iterable[str], requests: Queue[dict[str, Any]]) -> None:
    for line in lines:
        if (entry := json.loads(line))["event"] == "request":
            requests.put(entry)


@contextmanager
def serving(folder: Path, *options: str, key: str | None = None) -> Iterator[Server]:
    environ = {**os.environ, "R1_HOME": str(folder / "home"), "R1_THREADS": "1"}
    environ.pop("R1_API_KEY", None)
    if key is not None:
        environ["R1_API_KEY"] = key
    command = [sys.executable, "-m", "r1", "serve", "-m", "tiny", "--port", "0", "--json", "--grace", "1", *options]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    requests: Queue[dict[str, Any]] = Queue()
    try:
        address = json.loads(process.stdout.readline())["address"]
        threading.Thread(target=_collect, args=(process.stdout, requests), daemon=True).start()
        yield Server(int(address.rpartition(":")[2]), requests)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@dataclass(frozen=True, slots=True)
class Browser:
    program: str

    def visit(self, site: Site, origin: str, target: str, key: str = "") -> dict[str, str]:
        """What the page found that stands at `origin`. NAME means 127.0.0.1."""
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            options = _firefox(Path(profile)) if "firefox" in self.program else _chromium(profile)
            command = [self.program, *options, site.page(origin, target, key)]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                return site.results.get(timeout=3 * PATIENCE_S)
            finally:
                process.terminate()
                process.wait(PATIENCE_S)


def _chromium(profile: str) -> list[str]:
    return [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={profile}",
        f"--host-resolver-rules=MAP {NAME} 127.0.0.1",
    ]


def _firefox(profile: Path) -> list[str]:
    preferences = {"network.dns.localDomains": NAME, "browser.aboutwelcome.enabled": False}
    lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});" for name, value in preferences.items()]
    (profile / "user.js").write_text("\n".join(lines))
    return ["--headless", "--no-remote", "--profile", str(profile)]


_MAY_STAY = 3  # ways whose requests a browser may answer by itself, from what it knows


@dataclass(slots=True)
class Report:
    """Prints what happened, and counts what should not have."""

    wrong: int = 0

    def check(self, is_right: bool, text: str) -> None:
        self.wrong += not is_right
        print(f"  {'ok   ' if is_right else 'WRONG'} {text}", flush=True)

    def refused(
        self, title: str, results: dict[str, str], requests: list[dict[str, Any]], *, may_read: bool = False
    ) -> None:
        """No request may have got anything but a refusal, and the page read nothing; or the refusal, if `may_read`."""
        print(f"{title}: {len(results)} ways, {len(requests)} requests", flush=True)
        for name, result in results.items():
            is_read = result[:3].isdecimal() and not (may_read and result.startswith("403 "))
            self.check(not is_read and result != "opened", f"{name}: {result[:90]}")
        for one in requests:
            self.check(one["status"] == 403, f"{one['method']} {one['path']} → {one['status']}")
        self.check(len(requests) >= len(results) - _MAY_STAY, "the browser has sent them")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--browser", default=shutil.which("chromium") or shutil.which("google-chrome") or "chromium")
    args = parser.parse_args()
    browser, site, report = Browser(args.browser), Site(), Report()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(folder) as server:
            _refuse_all(browser, site, server, report)
        allowed = f"http://127.0.0.1:{site.port}"
        with serving(folder, "--allow-origin", allowed) as server:
            _let_in(browser, site, server, report)
        with serving(folder, "--allow-origin", allowed, key=KEY) as server:
            _let_in_with_key(browser, site, server, report)
    print(f"{report.wrong} wrong" if report.wrong else "all as it should be")
    sys.exit(1 if report.wrong else 0)


def _refuse_all(browser: Browser, site: Site, server: Server, report: Report) -> None:
    target = f"http://127.0.0.1:{server.port}"
    for title, host in (("another port of 127.0.0.1", "127.0.0.1"), ("another name", NAME)):
        results = browser.visit(site, f"http://{host}:{site.port}", target)
        report.refused(title, results, server.taken())
    own = f"http://{NAME}:{Rebinding(site.port, server.port).port}"
    results = browser.visit(site, own, own)
    report.refused("a name that is bound anew", results, server.taken(), may_read=True)


def _let_in(browser: Browser, site: Site, server: Server, report: Report) -> None:
    target = f"http://127.0.0.1:{server.port}"
    print("a page that is allowed")
    results = browser.visit(site, f"http://127.0.0.1:{site.port}", target)
    _check_reads(results, "200 ", report)
    report.check("42" in results["post of JSON"], "the answer is 42")
    report.check("data: [DONE]" in results["streamed answer"], "the stream has come to its end")
    report.check(results["sandboxed frame"] == "error", "a sandboxed frame in it has no origin, and gets nothing")
    server.taken()
    results = browser.visit(site, f"http://{NAME}:{site.port}", target)
    report.refused("another page beside it", results, server.taken())


def _let_in_with_key(browser: Browser, site: Site, server: Server, report: Report) -> None:
    origin, target = f"http://127.0.0.1:{site.port}", f"http://127.0.0.1:{server.port}"
    print("a page that is allowed, but has no key")
    results = browser.visit(site, origin, target)
    _check_reads({name: result for name, result in results.items() if name != "fetch of /health"}, "401 ", report)
    print("a page that is allowed, with a key")
    _check_reads(browser.visit(site, origin, target, KEY), "200 ", report)


def _check_reads(results: dict[str, str], status: str, report: Report) -> None:
    for name in READS:
        if name in results:
            report.check(results[name].startswith(status), f"{name}: {results[name][:90]}")


if __name__ == "__main__":
    main()
