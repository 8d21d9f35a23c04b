"""`python -m starter.devstack.warehouse`: run the embedded warehouse as a process."""

from starter.devstack.warehouse.server import main

main()
