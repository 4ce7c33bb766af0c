"""An API server that lists what it is given, with UIDs of its own choice, which no real one takes from anybody."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from voxfleet_api.kinds import Resource
from voxfleet_operator.kube_objects import resource_path


@contextmanager
def served(folder: Path, lists: Mapping[type[Resource], Iterable[Resource]]) -> Iterator[Path]:
    """Yields the kubeconfig, below `folder`."""
    answers = {
        resource_path(kind): json.dumps(
            {"metadata": {"resourceVersion": "1"}, "items": [item.dump() for item in items]}
        ).encode()
        for kind, items in lists.items()
    }

    class Lists(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(urlsplit(self.path).path)
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(answer or b'{"kind":"Status","code":404}')

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Lists)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield _kubeconfig(folder, server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _kubeconfig(folder: Path, port: int) -> Path:
    path = folder / "lists.kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lists",
        "contexts": [{"name": "lists", "context": {"cluster": "lists", "user": "lists"}}],
        "clusters": [{"name": "lists", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "lists", "user": {}}],
    }
    path.write_text(json.dumps(config))
    return path
