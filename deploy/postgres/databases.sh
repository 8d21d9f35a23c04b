#!/usr/bin/env bash
# Creates the roles and databases that are missing: commerce_migrator owns the shop's tables, commerce uses them, temporal
# owns Temporal's databases. Nobody can reach the databases of others. A second run changes nothing. A server that an
# older version set up has no migrator; it becomes the owner of everything that commerce owned, while the shop works.
# The service `databases` of docker-compose.yml runs this. On your own server, run it with psql's variables (PGHOST,
# PGUSER, PGPASSWORD, …) as a superuser.
set -euo pipefail

password() { # variable with the name of the secret's file, default
    local file=${!1:-/run/secrets/$2} text
    text=$(<"$file")
    [ -n "$text" ] || { echo "$file is empty" >&2; exit 1; }
    printf '%s' "$text"
}

COMMERCE_PASSWORD=$(password COMMERCE_PASSWORD_FILE commerce_password)
MIGRATOR_PASSWORD=$(password MIGRATOR_PASSWORD_FILE migrator_password)
TEMPORAL_PASSWORD=$(password TEMPORAL_PASSWORD_FILE temporal_password)
export COMMERCE_PASSWORD MIGRATOR_PASSWORD TEMPORAL_PASSWORD
if [ -z "${PGPASSWORD:-}" ] && [ -e "${POSTGRES_PASSWORD_FILE:-/run/secrets/postgres_password}" ]; then
    PGPASSWORD=$(password POSTGRES_PASSWORD_FILE postgres_password)
    export PGPASSWORD
fi

sql() { # database; reads statements from standard input
    psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --dbname "$1"
}

sql postgres <<'SQL'
\getenv commerce_password COMMERCE_PASSWORD
\getenv migrator_password MIGRATOR_PASSWORD
\getenv temporal_password TEMPORAL_PASSWORD

SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', role, password)
FROM (VALUES ('commerce', :'commerce_password'), ('commerce_migrator', :'migrator_password'),
             ('temporal', :'temporal_password')) AS wanted (role, password)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) \gexec

SELECT format('CREATE DATABASE %I OWNER %I', database, owner)
FROM (VALUES ('commerce', 'commerce_migrator'), ('temporal', 'temporal'), ('temporal_visibility', 'temporal'))
    AS wanted (database, owner)
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = database) \gexec

BEGIN;
ALTER DATABASE commerce OWNER TO commerce_migrator;
REVOKE ALL ON DATABASE commerce, temporal, temporal_visibility FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE commerce TO commerce;
COMMIT;
SQL

# Other transactions use the tables: waiting for them would make others wait, so it gives up soon and tries again.
transfer() {
    sql commerce <<'SQL'
SET lock_timeout = '500ms';
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_class WHERE relowner = 'commerce'::regrole AND relnamespace = 'public'::regnamespace) THEN
        REASSIGN OWNED BY commerce TO commerce_migrator;
        GRANT SELECT, INSERT, UPDATE, DELETE, MAINTAIN ON ALL TABLES IN SCHEMA public TO commerce;
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO commerce;
        REVOKE INSERT, UPDATE, DELETE, MAINTAIN ON alembic_version FROM commerce;
    END IF;
END $$;
SQL
}

tries=0
until transfer; do
    tries=$((tries + 1))
    [ "$tries" -lt "${TRIES:-60}" ] || { echo "The tables of commerce could not get their owner" >&2; exit 1; }
    sleep 1
done
