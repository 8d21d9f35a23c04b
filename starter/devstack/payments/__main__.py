"""`python -m starter.devstack.payments`: run the embedded payment provider as a process."""

from starter.devstack.payments.server import main

main()
