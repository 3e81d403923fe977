"""Train a language model: `python train.py --help`. (Hydra's shell completion looks for the word @hydra.main here.)"""

import sys

from manyheads.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
