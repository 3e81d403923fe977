"""Evaluate a run: `python eval.py --help`. (Hydra's shell completion looks for the word @hydra.main here.)"""

import sys

from manyheads.cli import main

if __name__ == "__main__":
    sys.exit(main(["eval", *sys.argv[1:]]))
