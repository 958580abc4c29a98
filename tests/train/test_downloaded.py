"""Weights that timm downloads, from a server that speaks the hub's protocol, by the hub's own client."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save

from ast_edge.errors import WeightsError
from ast_edge.train.downloaded import downloaded_state
from tests.paths import ROOT

FIRST, SECOND = "1" * 40, "2" * 40
TAKE = (
    "from ast_edge.errors import WeightsError\n"
    "from ast_edge.train.downloaded import downloaded_state\n"
    "try:\n    print(downloaded_state('test_resnet')[1])\n"
    "except WeightsError as exc:\n    print('refused:', exc)\n"
)


class Hub:
    """`files` by revision; `main` is the newest one; `asked` are the revisions that were asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.main = FIRST
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                self._answer(body=True)

            def _answer(self, *, body: bool) -> None:
                parts = self.path.partition("?")[0].split("/")
                known = parts[:4] == ["", "timm", "test_resnet.r160_in1k", "resolve"]
                revision = hub.main if known and parts[4] == "main" else parts[4] if known else ""
                content = hub.files.get(revision, b"") if parts[-1] == "model.safetensors" else b""
                if known and content:
                    hub.asked.append(parts[4])
                self.send_response(200 if content else 404)
                if content:
                    self.send_header("X-Repo-Commit", revision)
                    self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                else:
                    self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (its name there)
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@contextmanager
def running(hub: Hub) -> Iterator[None]:
    thread = threading.Thread(target=hub.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield
    finally:
        hub.server.shutdown()
        thread.join()
        hub.server.server_close()


def weights(seed: int) -> bytes:
    torch.manual_seed(seed)
    return save(timm.create_model("test_resnet").state_dict())


@pytest.mark.slow
def test_the_first_download_is_the_only_one_that_is_taken(tmp_path: Path) -> None:
    hub = Hub()

    def take() -> str:
        """In a new process, as by a new training."""
        env = {
            **os.environ,
            "HF_ENDPOINT": f"http://127.0.0.1:{hub.server.server_port}",
            "HF_HOME": str(tmp_path / "hub"),
            "AST_EDGE_CACHE": str(tmp_path / "cache"),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'export'}",
        }
        done = subprocess.run(
            [sys.executable, "-c", TAKE], env=env, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    with running(hub):
        hub.files[FIRST] = weights(0)
        first = take()
        assert first.startswith(f"timm test_resnet revision {FIRST[:12]}, sha256 ")
        record = tmp_path / "cache" / "weights" / "timm--test_resnet.r160_in1k.json"
        assert json.loads(record.read_text()) == {"revision": FIRST, "sha256": first.rpartition(" ")[2]}

        # There is a newer revision, and the hub's client has forgotten what it had.
        hub.files[SECOND], hub.main = weights(1), SECOND
        shutil.rmtree(tmp_path / "hub")
        hub.asked.clear()
        assert take() == first
        assert set(hub.asked) == {FIRST}

        # The server gives other tensors under the first one's name.
        hub.files[FIRST] = weights(2)
        shutil.rmtree(tmp_path / "hub")
        refused = take()
        assert refused.startswith(
            "refused: backbone test_resnet: the weights that timm gives are not those of"
        )
        assert str(record) in refused
        assert first.rpartition(" ")[2][:12] in refused

        record.write_text("{}")
        assert "cannot be read as the record of a download" in take()
        record.unlink()
        assert f"revision {SECOND[:12]}" in take()


@pytest.mark.usefixtures("own_cache")
def test_without_a_network_it_says_what_to_give_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    sentence = r"test_resnet: .* cannot be downloaded .* --weights FILE.* --preset nano"
    with pytest.raises(WeightsError, match=sentence):
        downloaded_state("test_resnet")
    assert huggingface_hub.constants.HF_HUB_OFFLINE
    assert not (tmp_path / "cache").exists()
