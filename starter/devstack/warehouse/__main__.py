"""`python -m starter.devstack.warehouse`: the embedded warehouse as a process of its own."""

from starter.devstack.warehouse.server import main

main()
