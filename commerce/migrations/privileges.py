"""What the shop's own role may do: use the tables, but neither change nor drop them.

A role of its own limits what an injected statement could do. `commerce migrate` grants it the use of every table and
sequence that the migrating role owns, so one of a new revision needs nothing more.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# MAINTAIN lets an import run ANALYZE. The revision of the schema is only read. The sequence of an identity column needs
# no privilege.
MISSING = text("""
    SELECT format('GRANT %s ON %s%s TO %I', string_agg(privilege, ', '),
                  CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE '' END, oid::regclass, CAST(:role AS text))
    FROM pg_class, unnest(CASE WHEN relkind = 'S' THEN ARRAY['USAGE']
                          WHEN relname = 'alembic_version' THEN ARRAY['SELECT']
                          ELSE ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'MAINTAIN'] END) AS privilege
    WHERE relkind IN ('r', 'p', 'S') AND relnamespace = to_regnamespace('public')
      AND pg_get_userbyid(relowner) = current_user
      AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND relkind = 'S' AND deptype = 'i')
      AND NOT CASE relkind WHEN 'S' THEN has_sequence_privilege(CAST(:role AS text), oid, privilege)
                           ELSE has_table_privilege(CAST(:role AS text), oid, privilege) END
    GROUP BY oid, relkind
""")


async def grant_use(connection: AsyncConnection, role: str) -> None:
    """Grant a role what the shop needs of our tables; the owner has it already. Commits."""
    for grant in (await connection.scalars(MISSING, {"role": role})).all():
        await connection.exec_driver_sql(grant)
    await connection.commit()
