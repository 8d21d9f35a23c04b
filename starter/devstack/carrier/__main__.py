"""`python -m starter.devstack.carrier`: run the embedded carrier as a process."""

from starter.devstack.carrier.server import main

main()
