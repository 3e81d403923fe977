"""Guards a training whose W&B server goes away in the middle: it goes on, says so, and nothing that was logged is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

BUCKET = {"id": "b", "name": "r", "displayName": "r", "config": "{}", "sweepName": None, "historyLineCount": 0}
VIEWER = {"id": "v", "entity": "someone", "username": "someone", "flags": "{}", "teams": {"edges": []}}
PROJECT = {"id": "p", "name": "manyheads", "entity": {"id": "e", "name": "someone"}}


class Server(BaseHTTPRequestHandler):
    """As much of W&B's server as a run needs to open and to upload to."""

    opened: bool = False
    stopped: bool = False

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        type(self).opened |= b"upsertBucket" in body
        answer = {"upsertBucket": {"bucket": BUCKET | {"project": PROJECT}, "inserted": True}, "viewer": VIEWER}
        payload = json.dumps({"data": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_PUT = do_POST

    def do_GET(self) -> None:
        self.do_POST()
        if self.path == "/stop":
            type(self).stopped = True
            self.wfile.flush()
            self.server.shutdown()
            self.server.server_close()

    def log_message(self, format: str, *args: Any) -> None: ...


PROGRAM = """
import sys, urllib.request
from manyheads.cli import main
from manyheads.lm import LM
from manyheads.logger import wandb

wandb.FINISH_SECONDS = 2.0
plain = LM.training_step

def training_step(self, batch, batch_idx):
    if self.trainer.global_step == 3:
        urllib.request.urlopen(sys.argv[1] + "/stop").close()
    return plain(self, batch, batch_idx)

LM.training_step = training_step
sys.exit(main(["train", *sys.argv[2:]]))
"""


@pytest.mark.slow
def test_a_server_that_goes_away_in_mid_run_costs_one_line(tiny: list[str], tmp_path: Path) -> None:
    """A W&B Table among the samples would wait for the server without end. What came after the server's end is in W&B's
    own file in the run folder, from where it can be uploaded."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, url, *tiny, "logger=wandb"],
        cwd=tmp_path,
        env=os.environ | {"WANDB_BASE_URL": url, "WANDB_API_KEY": "x" * 40, "WANDB_MODE": "online"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert (Server.opened, Server.stopped) == (True, True)
    (folder,) = tmp_path.glob("outputs/runs/*")
    assert json.loads((folder / "results.json").read_text(encoding="utf-8"))["run"]["status"] == "done"
    (line,) = [line for line in done.stderr.splitlines() if "W&B" in line]
    assert "W&B did not take everything" in line
    assert f"wandb sync {folder / 'wandb'}/run-" in line
    (file,) = folder.glob("wandb/run-*/*.wandb")
    until = time.monotonic() + 30  # W&B's own process writes the file's end when it ends, which nobody waits for
    while (found := steps(file)) != [1, 2, 3, 4, 6] and time.monotonic() < until:
        time.sleep(0.5)
    assert found == [1, 2, 3, 4, 6]


def steps(file: Path) -> list[int]:
    """The steps that W&B's own reader finds in its file."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    lines = subprocess.run(command, check=False, capture_output=True, text=True).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    return [record["history"]["item"]["_step"] for record in found if record["type"] == "history"]
