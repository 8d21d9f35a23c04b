"""All checks, in the order of the report."""

from starter.doctor import backlog, database, keys, schedules, services, settings, temporal
from starter.doctor.findings import UNREACHABLE, USAGE
from starter.doctor.runner import Check

VALUES = Check("Settings", "values", settings.check_values, code=USAGE)
DATABASE = Check("Database", "connection", database.check_connection, (VALUES,), UNREACHABLE)
TABLES = Check("Database", "tables", database.check_tables, (DATABASE,))
TEMPORAL_VARIABLES = Check("Settings", "Temporal", temporal.check_variables, code=USAGE)
SERVER = Check("Temporal", "connection", temporal.check_connection, (TEMPORAL_VARIABLES,), UNREACHABLE)
NAMESPACE = Check("Temporal", "namespace", temporal.check_namespace, (SERVER,))
ATTRIBUTES = Check("Temporal", "search attributes", temporal.check_search_attributes, (NAMESPACE,))
KEYS = Check("Keys", "keys", keys.check_keys, (VALUES,), USAGE)
ENCRYPTED = (KEYS, NAMESPACE)

CHECKS = (
    VALUES,
    Check("Settings", "names", settings.check_names),
    Check("Settings", "stack", settings.check_stack),
    TEMPORAL_VARIABLES,
    Check("Settings", "admins", settings.check_admins, (VALUES,)),
    DATABASE,
    TABLES,
    Check("Database", "role", database.check_role, (TABLES,)),
    Check("Database", "clock", database.check_clock, (DATABASE,)),
    Check("Database", "connections", database.check_connections, (DATABASE,)),
    Check("Database", "disk", database.check_disk, (DATABASE,)),
    SERVER,
    NAMESPACE,
    ATTRIBUTES,
    Check("Temporal", "worker", temporal.check_worker, (NAMESPACE,)),
    Check("Temporal", "retention", temporal.check_retention, (VALUES, NAMESPACE)),
    Check("Temporal", "clock", temporal.check_clock, (NAMESPACE,)),
    KEYS,
    Check("Keys", "file", keys.check_file, (KEYS,)),
    Check("Keys", "runs", keys.check_runs, ENCRYPTED),
    Check("Schedules", "settings", schedules.check_settings, ENCRYPTED),
    Check("Schedules", "keys", schedules.check_keys, ENCRYPTED),
    Check("Schedules", "paused", schedules.check_paused, ENCRYPTED),
    Check("Services", "mail", services.check_mail, (VALUES,)),
    Check("Services", "carrier", services.check_carrier, (VALUES,)),
    Check("Services", "warehouse", services.check_warehouse, (VALUES,)),
    Check("Services", "API", services.check_api, (VALUES,)),
    Check("Backlog", "pending orders", backlog.check_pending_orders, (TABLES, ATTRIBUTES)),
    Check("Backlog", "held orders", backlog.check_held_orders, (TABLES,)),
    Check("Backlog", "orders without products", backlog.check_orders_without_products, (TABLES,)),
    Check("Backlog", "waits for answers", backlog.check_waits, (TABLES,)),
    Check("Backlog", "events", backlog.check_events, (TABLES,)),
    Check("Backlog", "mails", backlog.check_mails, (TABLES,)),
    Check("Backlog", "stuck runs", backlog.check_stuck_runs, (ATTRIBUTES,)),
)
