"""`python -m ast_edge` is the command `ast-edge`."""

from __future__ import annotations

import sys

from ast_edge.cli import main

if __name__ == "__main__":
    sys.exit(main())
