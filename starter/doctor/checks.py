"""All checks, in the order of the screen."""

from starter.doctor import backlog, database, keys, outside, schedules, settings, temporal
from starter.doctor.examination import Check
from starter.doctor.findings import UNREACHABLE, USAGE

VALUES = Check("Settings", "values", settings.values, code=USAGE)
PG = Check("Database", "connection", database.connection, (VALUES,), UNREACHABLE)
TABLES = Check("Database", "tables", database.tables, (PG,))
VARIABLES = Check("Settings", "Temporal's", temporal.variables, code=USAGE)
SERVER = Check("Temporal", "connection", temporal.connection, (VARIABLES,), UNREACHABLE)
NAMESPACE = Check("Temporal", "namespace", temporal.namespace, (SERVER,))
ATTRIBUTES = Check("Temporal", "search attributes", temporal.search_attributes, (NAMESPACE,))
KEYS = Check("Keys", "keys", keys.keys, (VALUES,), USAGE)
ENCRYPTED = (KEYS, NAMESPACE)

CHECKS = (
    VALUES,
    Check("Settings", "names", settings.names),
    VARIABLES,
    Check("Settings", "admins", settings.admins, (VALUES,)),
    PG,
    TABLES,
    Check("Database", "clock", database.clock, (PG,)),
    Check("Database", "connections", database.connections, (PG,)),
    SERVER,
    NAMESPACE,
    ATTRIBUTES,
    Check("Temporal", "worker", temporal.worker, (NAMESPACE,)),
    Check("Temporal", "retention", temporal.retention, (VALUES, NAMESPACE)),
    Check("Temporal", "clock", temporal.clock, (NAMESPACE,)),
    KEYS,
    Check("Keys", "file", keys.key_file, (KEYS,)),
    Check("Keys", "runs", keys.runs, ENCRYPTED),
    Check("Schedules", "settings", schedules.settings, ENCRYPTED),
    Check("Schedules", "keys", schedules.keys, ENCRYPTED),
    Check("Schedules", "paused", schedules.paused, ENCRYPTED),
    Check("Outside", "mail", outside.mail, (VALUES,)),
    Check("Outside", "carrier", outside.carrier, (VALUES,)),
    Check("Outside", "warehouse", outside.warehouse, (VALUES,)),
    Check("Outside", "API", outside.api, (VALUES,)),
    Check("State", "pending orders", backlog.pending, (TABLES,)),
    Check("State", "held orders", backlog.held, (TABLES,)),
    Check("State", "events", backlog.events, (TABLES,)),
    Check("State", "mails", backlog.mails, (TABLES,)),
    Check("State", "stuck runs", backlog.stuck, (ATTRIBUTES,)),
)
