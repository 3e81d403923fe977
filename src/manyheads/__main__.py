"""`python -m manyheads` is the console script."""

import sys

from manyheads.cli import main

if __name__ == "__main__":
    sys.exit(main())
