#!/bin/sh
# Upgrades the tables of Temporal's two databases to the version of this image. A second run finds nothing to do.
# SQL_HOST, SQL_PORT, SQL_USER and SQL_PLUGIN are temporal-sql-tool's own: https://docs.temporal.io/self-hosted-guide
set -eu

SQL_PASSWORD=$(cat "${SQL_PASSWORD_FILE:-/run/secrets/temporal_password}")
export SQL_PASSWORD
schema=${SCHEMA:-/etc/temporal/schema/postgresql/v12}

upgrade() { # database, folder of its schema versions
    temporal-sql-tool --database "$1" setup-schema --version 0.0
    temporal-sql-tool --database "$1" update-schema --schema-dir "$schema/$2/versioned"
}

upgrade temporal temporal
upgrade temporal_visibility visibility
