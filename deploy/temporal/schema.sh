#!/bin/sh
# Brings the tables of Temporal's two databases to the version of this image; a second run finds nothing to do.
# SQL_HOST, SQL_PORT, SQL_USER and SQL_PLUGIN are temporal-sql-tool's own; https://docs.temporal.io/self-hosted-guide
set -eu

SQL_PASSWORD=$(cat "${SQL_PASSWORD_FILE:-/run/secrets/temporal_password}")
export SQL_PASSWORD
schema=${SCHEMA:-/etc/temporal/schema/postgresql/v12}

bring_up() { # database, folder of its versions
    temporal-sql-tool --database "$1" setup-schema --version 0.0
    temporal-sql-tool --database "$1" update-schema --schema-dir "$schema/$2/versioned"
}

bring_up temporal temporal
bring_up temporal_visibility visibility
