"""`python -m koine`: the command line."""

import sys

from koine.cli import main

sys.exit(main())
