#!/bin/sh
# Starts Temporal's server. It reads the database password only from a variable, so take that from the secret's file.
set -eu

POSTGRES_PWD=$(cat "${POSTGRES_PWD_FILE:-/run/secrets/temporal_password}")
export POSTGRES_PWD
exec "${ENTRYPOINT:-/etc/temporal/entrypoint.sh}"
