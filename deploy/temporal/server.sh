#!/bin/sh
# Starts Temporal's server with its database's password from a secret: its own configuration takes it from a variable.
set -eu

POSTGRES_PWD=$(cat "${POSTGRES_PWD_FILE:-/run/secrets/temporal_password}")
export POSTGRES_PWD
exec "${ENTRYPOINT:-/etc/temporal/entrypoint.sh}"
