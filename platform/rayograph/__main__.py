"""`python -m rayograph`, for places where the console script is not on the path."""

import sys

from rayograph.cli import main

if __name__ == "__main__":
    sys.exit(main())
