"""`python -m lmeformula` is the command line."""

import sys

from lmeformula.cli import main

if __name__ == "__main__":
    sys.exit(main())
