"""`python -m starter.devstack.carrier`: the embedded carrier as a process of its own."""

from starter.devstack.carrier.server import main

main()
