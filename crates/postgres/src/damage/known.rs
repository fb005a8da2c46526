//! Whether a question about rows runs nothing but PostgreSQL's own code. A preview asks before anybody
//! approved anything, and whoever wrote the statement may have made a view, an operator or a cast whose
//! function does what they are not allowed to: even planning a query runs functions that are declared
//! IMMUTABLE, and a read-only transaction stops neither a server's files nor another connection.

use crate::{Ask, ServerError};

use super::DamageError;
use super::target::list;

/// What stands in the way, as the end of "cannot be counted beforehand: ".
///
/// # Errors
/// When something does, or the database does not answer.
pub(super) async fn counts_safely(ask: &mut impl Ask, tables: &[u32]) -> Result<(), DamageError> {
    if let Some(what) = table_that_runs_code(ask, tables).await? {
        return Err(DamageError::Unseen(what));
    }
    if let Some(what) = code_in_expressions(ask).await? {
        return Err(DamageError::Unseen(format!(
            "the database has {what}, which a condition may run"
        )));
    }
    Ok(())
}

async fn table_that_runs_code(
    ask: &mut impl Ask,
    tables: &[u32],
) -> Result<Option<String>, ServerError> {
    // With inheritors and partitions, which are read along.
    let rows = ask
        .ask(&format!(
            "WITH RECURSIVE read(oid) AS (
                SELECT unnest({tables}) UNION SELECT i.inhrelid FROM pg_inherits i JOIN read ON read.oid = i.inhparent)
             SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), c.relkind, row_security_active(c.oid)
             FROM read JOIN pg_class c ON c.oid = read.oid JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind NOT IN ('r', 'p', 'm', 'S', 'i', 'I') OR row_security_active(c.oid)
                OR (n.nspname = 'pg_catalog' AND c.relkind = 'v') ORDER BY 1 LIMIT 1",
            tables = list(tables)
        ))
        .await?;
    Ok(rows.rows.first().map(|row| {
        let value = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
        match value(1) {
            "v" => format!("{} is a view, and reading it may run functions", value(0)),
            "f" => format!("{} is on another server", value(0)),
            _ => format!(
                "{} has row security, whose policies may run functions",
                value(0)
            ),
        }
    }))
}

/// Operators, casts and domains whose function neither PostgreSQL nor an extension brought.
async fn code_in_expressions(ask: &mut impl Ask) -> Result<Option<String>, ServerError> {
    let own = |class: &str, oid: &str| {
        format!(
            "{oid} >= 16384 AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.deptype = 'e'
               AND d.classid = '{class}'::regclass AND d.objid = {oid})"
        )
    };
    let rows = ask
        .ask(&format!(
            "SELECT 'the operator ' || o.oid::regoperator::text FROM pg_operator o WHERE {operator}
             UNION ALL SELECT 'a cast from ' || format_type(c.castsource, NULL) || ' to ' || format_type(c.casttarget, NULL)
               FROM pg_cast c WHERE c.castfunc <> 0 AND {cast}
             UNION ALL SELECT 'the domain ' || format_type(k.contypid, NULL) || ', whose check calls a function,'
               FROM pg_constraint k WHERE k.contypid <> 0 AND EXISTS (SELECT 1 FROM pg_depend d
                 WHERE d.classid = 'pg_constraint'::regclass AND d.objid = k.oid
                   AND d.refclassid = 'pg_proc'::regclass AND {function})
             LIMIT 1",
            operator = own("pg_operator", "o.oid"),
            cast = own("pg_cast", "c.oid"),
            function = own("pg_proc", "d.refobjid").replace("pg_depend d WHERE", "pg_depend e WHERE")
                .replace("d.deptype", "e.deptype").replace("d.classid =", "e.classid =").replace("d.objid", "e.objid"),
        ))
        .await?;
    Ok(rows.single().map(ToOwned::to_owned))
}
