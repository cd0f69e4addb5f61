"""`python -m tests.faults COMMAND ...` runs a command in a lab of its own."""

from __future__ import annotations

import sys

from tests.faults.lab import main

main(sys.argv[1:])
