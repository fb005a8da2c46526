//! What makes dropped objects again: tables with columns, keys, indexes, triggers, policies, rights and
//! comments, the sequences that they own, views, functions and types, and what other tables lose by it.
//! The server writes the text, under a search path that makes it name everything in full.
//!
//! An object of a kind that no line here makes again is an error, not a gap.

use super::DamageError;
use super::store::KeptSequence;
use super::tables::Gone;
use super::target::{cell, list, number};
use crate::{Ask, ServerError};

/// Statements that make objects again. Within each list one may need another to go first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Definitions {
    /// Before there are rows.
    pub(super) before: Vec<String>,
    /// Behind them.
    pub(super) afterwards: Vec<String>,
}

/// Catalogs whose objects are made again by themselves or with what they belong to.
const MADE: &[&str] = &[
    "pg_attrdef",
    "pg_class",
    "pg_constraint",
    "pg_namespace",
    "pg_policy",
    "pg_proc",
    "pg_publication_rel",
    "pg_rewrite",
    "pg_statistic_ext",
    "pg_trigger",
    "pg_type",
];

/// What makes these again.
pub(super) async fn of(ask: &mut impl Ask, gone: &[Gone]) -> Result<Definitions, DamageError> {
    let whole: Vec<u32> = of_class(gone, "pg_class");
    for object in gone {
        let is_lone_column =
            object.class == "pg_class" && object.column != 0 && !whole.contains(&object.oid);
        if is_lone_column || !MADE.contains(&object.class.as_str()) {
            return Err(DamageError::Unkept(format!(
                "with it goes {}, which is not kept",
                object.described
            )));
        }
    }
    if let Some(what) = unmade(ask, gone).await? {
        return Err(DamageError::Unkept(format!(
            "with it goes {what}, which is not kept"
        )));
    }
    let mut definitions = Definitions::default();
    for (questions, into) in [
        (BEFORE, &mut definitions.before),
        (AFTERWARDS, &mut definitions.afterwards),
    ] {
        for question in questions {
            let rows = ask.ask(&filled(question, gone)).await?;
            into.extend(rows.rows.iter().map(|row| cell(row, 0).to_owned()));
        }
    }
    Ok(definitions)
}

fn of_class(gone: &[Gone], class: &str) -> Vec<u32> {
    let of_class = gone
        .iter()
        .filter(|gone| gone.class == class && gone.column == 0);
    of_class.map(|gone| gone.oid).collect()
}

/// A question with the objects that it is about: `:pg_class` stands for those of that catalog.
fn filled(question: &str, gone: &[Gone]) -> String {
    let mut question = question.to_owned();
    for class in MADE {
        let placeholder = format!(":{class}");
        if question.contains(&placeholder) {
            question = question.replace(&placeholder, &list(&of_class(gone, class)));
        }
    }
    question
}

/// Something of a known catalog that nothing here makes again.
async fn unmade(ask: &mut impl Ask, gone: &[Gone]) -> Result<Option<String>, ServerError> {
    let rows = ask
        .ask(&filled(
            "SELECT pg_describe_object('pg_class'::regclass, c.oid, 0) FROM pg_class c WHERE c.oid = ANY (:pg_class)
               AND (c.relkind NOT IN ('r', 'p', 'v', 'm', 'S', 'i', 'I', 'c') OR c.reloftype <> 0)
             UNION ALL SELECT pg_describe_object('pg_proc'::regclass, p.oid, 0) FROM pg_proc p
               WHERE p.oid = ANY (:pg_proc) AND p.prokind NOT IN ('f', 'p')
             UNION ALL SELECT pg_describe_object('pg_type'::regclass, t.oid, 0) FROM pg_type t
               WHERE t.oid = ANY (:pg_type) AND t.typtype NOT IN ('e', 'd', 'c')
                 AND NOT (t.typcategory = 'A' AND t.typelem <> 0)
             LIMIT 1",
            gone,
        ))
        .await?;
    Ok(rows.single().map(ToOwned::to_owned))
}

/// The sequences that a table's columns own, with where they stand.
pub(super) async fn sequences(
    ask: &mut impl Ask,
    table: u32,
) -> Result<Vec<KeptSequence>, DamageError> {
    let names = ask
        .ask(&format!(
            "SELECT quote_ident(n.nspname) || '.' || quote_ident(s.relname)
             FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
             JOIN pg_namespace n ON n.oid = s.relnamespace
             WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
               AND d.refobjid = {table} AND d.deptype IN ('a', 'i') ORDER BY s.oid"
        ))
        .await?;
    let mut sequences = Vec::new();
    for row in &names.rows {
        let name = cell(row, 0).to_owned();
        let at = ask
            .ask(&format!("SELECT last_value, is_called FROM {name}"))
            .await?;
        for at in &at.rows {
            sequences.push(KeptSequence {
                name: name.clone(),
                last: number(at, 0)?,
                is_called: cell(at, 1) == "t",
            });
        }
    }
    Ok(sequences)
}

const BEFORE: &[&str] = &[
    "SELECT format('CREATE SCHEMA %I AUTHORIZATION %I', nspname, pg_get_userbyid(nspowner))
     FROM pg_namespace WHERE oid = ANY (:pg_namespace)",
    // Types.
    "SELECT format('CREATE TYPE %I.%I AS ENUM (%s)', n.nspname, t.typname,
       (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid))
     FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE t.oid = ANY (:pg_type) AND t.typtype = 'e'
     UNION ALL SELECT format('CREATE DOMAIN %I.%I AS %s%s%s%s%s', n.nspname, t.typname, format_type(t.typbasetype, t.typtypmod),
       CASE WHEN t.typcollation NOT IN (0, b.typcollation) THEN ' COLLATE ' || t.typcollation::regcollation END,
       ' DEFAULT ' || pg_get_expr(t.typdefaultbin, 0), CASE WHEN t.typnotnull THEN ' NOT NULL' END,
       (SELECT string_agg(format(' CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid)), '' ORDER BY k.conname)
          FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c'))
     FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace JOIN pg_type b ON b.oid = t.typbasetype
     WHERE t.oid = ANY (:pg_type) AND t.typtype = 'd'
     UNION ALL SELECT format('CREATE TYPE %I.%I AS (%s)', n.nspname, t.typname,
       (SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum)
          FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped))
     FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace JOIN pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'
     WHERE t.oid = ANY (:pg_type) AND t.typtype = 'c'
     UNION ALL SELECT format('ALTER TYPE %I.%I OWNER TO %I', n.nspname, t.typname, pg_get_userbyid(t.typowner))
     FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
     WHERE t.oid = ANY (:pg_type) AND (t.typtype IN ('e', 'd') OR EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))",
    // Sequences, but those of identity columns, which come with them.
    "SELECT format('CREATE SEQUENCE %s AS %s START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s%s', s.oid::regclass,
       format_type(q.seqtypid, NULL), q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache, CASE WHEN q.seqcycle THEN ' CYCLE' END)
     FROM pg_class s JOIN pg_sequence q ON q.seqrelid = s.oid WHERE s.oid = ANY (:pg_class)
       AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype = 'i')",
    // Tables.
    "SELECT format('CREATE %sTABLE %s (%s)%s%s%s', CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' END, c.oid::regclass,
       (SELECT string_agg(format('%I %s%s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attcollation NOT IN (0, t.typcollation) THEN ' COLLATE ' || a.attcollation::regcollation END,
            CASE WHEN a.attgenerated <> '' THEN format(' GENERATED ALWAYS AS (%s) %s', pg_get_expr(d.adbin, d.adrelid),
              CASE a.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END) END,
            CASE WHEN a.attnotnull THEN ' NOT NULL' END), ', ' ORDER BY a.attnum)
          FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
          LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
       CASE c.relkind WHEN 'p' THEN ' PARTITION BY ' || pg_get_partkeydef(c.oid) END,
       CASE WHEN c.reloptions IS NOT NULL THEN ' WITH (' || array_to_string(c.reloptions, ', ') || ')' END,
       (SELECT ' TABLESPACE ' || quote_ident(spcname) FROM pg_tablespace s WHERE s.oid = c.reltablespace))
     FROM pg_class c WHERE c.oid = ANY (:pg_class) AND c.relkind IN ('r', 'p')",
    "SELECT format('ALTER TABLE %s ALTER COLUMN %I ADD GENERATED %s AS IDENTITY (SEQUENCE NAME %s START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s%s)',
       c.oid::regclass, a.attname, CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, s.oid::regclass,
       q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcache, CASE WHEN q.seqcycle THEN ' CYCLE' END)
     FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attidentity <> ''
     JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
       AND d.refobjsubid = a.attnum AND d.deptype = 'i'
     JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_sequence q ON q.seqrelid = s.oid
     WHERE c.oid = ANY (:pg_class)",
    "SELECT format('ALTER SEQUENCE %s OWNED BY %s.%I', s.oid::regclass, c.oid::regclass, a.attname)
     FROM pg_class s JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'a'
     JOIN pg_class c ON c.oid = d.refobjid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
     WHERE s.oid = ANY (:pg_class) AND s.relkind = 'S'",
];

const AFTERWARDS: &[&str] = &[
    // Functions may be what a default, a trigger or a view needs.
    "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE oid = ANY (:pg_proc)
     UNION ALL SELECT format('ALTER %s %s OWNER TO %I', CASE prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, oid::regprocedure, pg_get_userbyid(proowner))
       FROM pg_proc WHERE oid = ANY (:pg_proc)",
    "SELECT format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', d.adrelid::regclass, a.attname, pg_get_expr(d.adbin, d.adrelid))
     FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
     WHERE d.oid = ANY (:pg_attrdef) AND a.attgenerated = ''",
    "SELECT format('ALTER TABLE ONLY %s ATTACH PARTITION %s %s', i.inhparent::regclass, c.oid::regclass, pg_get_expr(c.relpartbound, c.oid))
     FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid WHERE c.oid = ANY (:pg_class) AND c.relispartition AND c.relkind IN ('r', 'p')
     UNION ALL SELECT format('ALTER TABLE %s INHERIT %s', c.oid::regclass, i.inhparent::regclass)
     FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid WHERE c.oid = ANY (:pg_class) AND NOT c.relispartition AND c.relkind = 'r'",
    // Keys before foreign keys.
    "SELECT format('ALTER TABLE %s%s ADD CONSTRAINT %I %s', CASE c.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END, k.conrelid::regclass, k.conname, pg_get_constraintdef(k.oid))
     FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
     WHERE k.oid = ANY (:pg_constraint) AND k.conparentid = 0 AND k.conislocal AND k.contype IN ('p', 'u', 'x', 'c', 'f')
     ORDER BY k.contype = 'f', k.oid",
    "SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid
     WHERE i.indexrelid = ANY (:pg_class) AND NOT x.relispartition AND c.relkind IN ('r', 'p')
       AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
     UNION ALL SELECT format('ALTER TABLE %s CLUSTER ON %I', i.indrelid::regclass, x.relname)
       FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indexrelid = ANY (:pg_class) AND i.indisclustered",
    "SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext WHERE oid = ANY (:pg_statistic_ext)",
    "SELECT format('ALTER TABLE ONLY %s ALTER COLUMN %I SET STORAGE %s', a.attrelid::regclass, a.attname,
       CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END)
     FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_class c ON c.oid = a.attrelid
     WHERE c.oid = ANY (:pg_class) AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped AND a.attstorage <> t.typstorage
     UNION ALL SELECT format('ALTER TABLE ONLY %s ALTER COLUMN %I SET STATISTICS %s', a.attrelid::regclass, a.attname, a.attstattarget)
     FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
     WHERE c.oid = ANY (:pg_class) AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped AND a.attstattarget >= 0",
    "SELECT format('CREATE %s %s (%s)%s AS %s', CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'MATERIALIZED VIEW' END, c.oid::regclass,
       (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0),
       CASE WHEN c.reloptions IS NOT NULL THEN ' WITH (' || array_to_string(c.reloptions, ', ') || ')' END,
       rtrim(pg_get_viewdef(c.oid), ';') || CASE WHEN c.relkind = 'm' AND NOT c.relispopulated THEN ' WITH NO DATA' ELSE '' END)
     FROM pg_class c WHERE c.oid = ANY (:pg_class) AND c.relkind IN ('v', 'm') ORDER BY c.oid",
    "SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
     WHERE i.indexrelid = ANY (:pg_class) AND c.relkind = 'm'",
    "SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t WHERE t.oid = ANY (:pg_trigger) AND NOT t.tgisinternal AND t.tgparentid = 0
     UNION ALL SELECT format('ALTER TABLE %s %s TRIGGER %I', t.tgrelid::regclass,
       CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, t.tgname)
       FROM pg_trigger t WHERE t.oid = ANY (:pg_trigger) AND NOT t.tgisinternal AND t.tgenabled <> 'O'
     UNION ALL SELECT pg_get_ruledef(r.oid) FROM pg_rewrite r WHERE r.oid = ANY (:pg_rewrite) AND r.rulename <> '_RETURN'",
    "SELECT format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', p.polname, p.polrelid::regclass,
       CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
       CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
       (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ') FROM unnest(p.polroles) r),
       ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
     FROM pg_policy p WHERE p.oid = ANY (:pg_policy)
     UNION ALL SELECT format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', oid::regclass) FROM pg_class WHERE oid = ANY (:pg_class) AND relrowsecurity
     UNION ALL SELECT format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', oid::regclass) FROM pg_class WHERE oid = ANY (:pg_class) AND relforcerowsecurity",
    "SELECT format('ALTER TABLE %s REPLICA IDENTITY %s', c.oid::regclass, CASE c.relreplident WHEN 'n' THEN 'NOTHING' WHEN 'f' THEN 'FULL'
       ELSE (SELECT 'USING INDEX ' || quote_ident(x.relname) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid AND i.indisreplident) END)
     FROM pg_class c WHERE c.oid = ANY (:pg_class) AND c.relkind IN ('r', 'p') AND c.relreplident NOT IN ('d')
     UNION ALL SELECT format('ALTER PUBLICATION %I ADD TABLE ONLY %s%s%s', p.pubname, r.prrelid::regclass,
       (SELECT ' (' || string_agg(quote_ident(a.attname), ', ') || ')' FROM pg_attribute a WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs::int2[])),
       ' WHERE (' || pg_get_expr(r.prqual, r.prrelid) || ')')
     FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE r.oid = ANY (:pg_publication_rel)",
    "SELECT format('COMMENT ON %s %s IS %L', CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
         WHEN 'i' THEN 'INDEX' WHEN 'I' THEN 'INDEX' ELSE 'TABLE' END, c.oid::regclass, d.description)
     FROM pg_description d JOIN pg_class c ON c.oid = d.objoid WHERE d.classoid = 'pg_class'::regclass AND d.objsubid = 0
       AND c.oid = ANY (:pg_class) AND c.relkind <> 'c'
     UNION ALL SELECT format('COMMENT ON COLUMN %s.%I IS %L', c.oid::regclass, a.attname, d.description)
     FROM pg_description d JOIN pg_class c ON c.oid = d.objoid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid
     WHERE d.classoid = 'pg_class'::regclass AND d.objsubid > 0 AND c.oid = ANY (:pg_class)
     UNION ALL SELECT format('COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, k.conrelid::regclass, d.description)
     FROM pg_description d JOIN pg_constraint k ON k.oid = d.objoid WHERE d.classoid = 'pg_constraint'::regclass AND k.oid = ANY (:pg_constraint) AND k.conrelid <> 0
     UNION ALL SELECT format('COMMENT ON TRIGGER %I ON %s IS %L', t.tgname, t.tgrelid::regclass, d.description)
     FROM pg_description d JOIN pg_trigger t ON t.oid = d.objoid WHERE d.classoid = 'pg_trigger'::regclass AND t.oid = ANY (:pg_trigger)
     UNION ALL SELECT format('COMMENT ON %s %s IS %L', CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, p.oid::regprocedure, d.description)
     FROM pg_description d JOIN pg_proc p ON p.oid = d.objoid WHERE d.classoid = 'pg_proc'::regclass AND p.oid = ANY (:pg_proc)
     UNION ALL SELECT format('COMMENT ON TYPE %s IS %L', format_type(t.oid, NULL), d.description)
     FROM pg_description d JOIN pg_type t ON t.oid = d.objoid WHERE d.classoid = 'pg_type'::regclass AND t.oid = ANY (:pg_type)
     UNION ALL SELECT format('COMMENT ON SCHEMA %I IS %L', n.nspname, d.description)
     FROM pg_description d JOIN pg_namespace n ON n.oid = d.objoid WHERE d.classoid = 'pg_namespace'::regclass AND n.oid = ANY (:pg_namespace)",
    // Owners first, since only they grant; and rights last.
    "SELECT format('ALTER %s %s OWNER TO %I', CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
       c.oid::regclass, pg_get_userbyid(c.relowner))
     FROM pg_class c WHERE c.oid = ANY (:pg_class) AND c.relkind IN ('r', 'p', 'v', 'm')
     UNION ALL SELECT format('ALTER SEQUENCE %s OWNER TO %I', s.oid::regclass, pg_get_userbyid(s.relowner))
     FROM pg_class s WHERE s.oid = ANY (:pg_class) AND s.relkind = 'S'
       AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i'))",
    "SELECT format('REVOKE ALL ON %s %s FROM PUBLIC, %I', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass, pg_get_userbyid(c.relowner))
     FROM pg_class c WHERE c.oid = ANY (:pg_class) AND c.relacl IS NOT NULL AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
     UNION ALL SELECT format('REVOKE ALL ON %s %s FROM PUBLIC, %I', CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END,
       p.oid::regprocedure, pg_get_userbyid(p.proowner)) FROM pg_proc p WHERE p.oid = ANY (:pg_proc) AND p.proacl IS NOT NULL",
    "SELECT format('GRANT %s ON %s %s TO %s%s', x.privilege_type, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass,
       CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END, CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' END)
     FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) x WHERE c.oid = ANY (:pg_class) AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
     UNION ALL SELECT format('GRANT %s (%I) ON TABLE %s TO %s%s', x.privilege_type, a.attname, c.oid::regclass,
       CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END, CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' END)
     FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 CROSS JOIN LATERAL aclexplode(a.attacl) x WHERE c.oid = ANY (:pg_class)
     UNION ALL SELECT format('GRANT %s ON SCHEMA %I TO %s%s', x.privilege_type, n.nspname,
       CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END, CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' END)
     FROM pg_namespace n CROSS JOIN LATERAL aclexplode(n.nspacl) x WHERE n.oid = ANY (:pg_namespace)
     UNION ALL SELECT format('GRANT %s ON %s %s TO %s%s', x.privilege_type, CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, p.oid::regprocedure,
       CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END, CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' END)
     FROM pg_proc p CROSS JOIN LATERAL aclexplode(p.proacl) x WHERE p.oid = ANY (:pg_proc)",
];
