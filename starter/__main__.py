"""`python -m starter`: the command line."""

from starter.cli.app import main

main()
