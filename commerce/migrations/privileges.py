"""What the shop's own role may do: use the tables, but neither change nor drop them.

A role of its own limits what an injected statement could do. `commerce migrate` grants it the use of every table that
the migrating role owns, so a table of a new revision needs nothing more.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# MAINTAIN lets an import run ANALYZE. The revision of the schema is only read.
MISSING = text("""
    SELECT format('GRANT %s ON %s TO %I', string_agg(privilege, ', '), oid::regclass, CAST(:role AS text))
    FROM pg_class, unnest(CASE WHEN relname = 'alembic_version' THEN ARRAY['SELECT']
                          ELSE ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'MAINTAIN'] END) AS privilege
    WHERE relkind IN ('r', 'p') AND relnamespace = to_regnamespace('public')
      AND pg_get_userbyid(relowner) = current_user AND NOT has_table_privilege(CAST(:role AS text), oid, privilege)
    GROUP BY oid
""")


async def grant_use(connection: AsyncConnection, role: str) -> None:
    """Grant a role what the shop needs of our tables; the owner has it already. Commits."""
    for grant in (await connection.scalars(MISSING, {"role": role})).all():
        await connection.exec_driver_sql(grant)
    await connection.commit()
