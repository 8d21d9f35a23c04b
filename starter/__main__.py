"""`python -m starter`: the command line."""

from starter.cli import main

main()
