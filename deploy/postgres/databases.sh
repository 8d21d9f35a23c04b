#!/usr/bin/env bash
# Creates the databases and their owners. Each owner can reach only its own databases. The PostgreSQL image runs this
# once, when its volume is empty. On your own server, run it once with psql's variables (PGHOST, PGUSER, PGPASSWORD, …).
set -euo pipefail

COMMERCE_PASSWORD=$(<"${COMMERCE_PASSWORD_FILE:-/run/secrets/commerce_password}")
TEMPORAL_PASSWORD=$(<"${TEMPORAL_PASSWORD_FILE:-/run/secrets/temporal_password}")
: "${COMMERCE_PASSWORD:?is empty}" "${TEMPORAL_PASSWORD:?is empty}"
export COMMERCE_PASSWORD TEMPORAL_PASSWORD PGUSER="${PGUSER:-${POSTGRES_USER:-postgres}}"

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --dbname postgres <<'SQL'
\getenv commerce_password COMMERCE_PASSWORD
\getenv temporal_password TEMPORAL_PASSWORD

CREATE ROLE commerce LOGIN PASSWORD :'commerce_password';
CREATE ROLE temporal LOGIN PASSWORD :'temporal_password';
CREATE DATABASE commerce OWNER commerce;
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;
REVOKE ALL ON DATABASE commerce, temporal, temporal_visibility FROM PUBLIC;
SQL
