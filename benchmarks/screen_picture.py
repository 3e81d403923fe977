"""What a person sees, as a picture: runs a command in a real terminal (tmux) and draws its screen.

    python -m benchmarks.screen_picture OUT.svg SECONDS COMMAND...

Draws the screen after so many seconds, or when the command has ended. Needs tmux; `rsvg-convert` or a browser turns the
SVG into a PNG.
"""

from __future__ import annotations

import io
import shlex
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH, HEIGHT = 110, 46
SESSION = "manyheads-picture"


def tmux(*words: str) -> str:
    """One tmux command."""
    return subprocess.run(["tmux", *words], check=True, capture_output=True, text=True).stdout


def picture(path: Path, seconds: float, command: list[str]) -> None:
    """Writes the screen as SVG."""
    subprocess.run(["tmux", "kill-session", "-t", SESSION], capture_output=True, check=False)
    line = f"{shlex.join(command)}; tmux wait-for -S {SESSION}; sleep 60"
    tmux("new-session", "-d", "-s", SESSION, "-x", str(WIDTH), "-y", str(HEIGHT), line)
    waiting = subprocess.Popen(["tmux", "wait-for", SESSION])
    try:
        waiting.wait(seconds)
        time.sleep(0.3)
    except subprocess.TimeoutExpired:
        waiting.kill()
    screen = tmux("capture-pane", "-e", "-p", "-t", SESSION)
    tmux("kill-session", "-t", SESSION)
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(screen.rstrip()))
    path.write_text(console.export_svg(title=" ".join(command)), encoding="utf-8")


if __name__ == "__main__":
    picture(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
