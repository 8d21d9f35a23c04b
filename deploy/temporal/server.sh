#!/bin/sh
# Starts Temporal's server. It reads the database password only from a variable, so take that from the secret's file. The
# server inserts it between double quotes into its configuration, which is YAML.
set -eu

POSTGRES_PWD=$(sed 's/[\\"]/\\&/g' "${POSTGRES_PWD_FILE:-/run/secrets/temporal_password}")
export POSTGRES_PWD
exec "${ENTRYPOINT:-/etc/temporal/entrypoint.sh}"
