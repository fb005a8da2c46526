//! Functions and operators. PostgreSQL's own are in tables: those that only compute, and those that it
//! declares VOLATILE, each classified by hand. A name that no table has is a function of the user's,
//! whose declaration proves nothing (an IMMUTABLE function may delete), so only a person can say.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use pg_query::ParserOptions;
use tagout_core::Flag;

use super::rows::constant_text;
use super::tree::{Message, Value};
use super::{Walk, names, object};
use crate::statement::{Act, Called, Class, Unreadable};

/// What calling a function of PostgreSQL's own does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// This.
    Class(Class, Option<Flag>),
    /// Runs the text in one of its arguments.
    RunsText,
    /// Reads the relation, schema or database that its first argument names.
    ReadsNamed,
    /// What SET does.
    Sets,
}

struct Known {
    meaning: Meaning,
    why: &'static str,
}

static VOLATILE: LazyLock<HashMap<&'static str, Known>> = LazyLock::new(|| {
    lines(include_str!("volatile.tsv"))
        .filter_map(|line| {
            let mut columns = line.split('\t');
            let (name, class, flag) = (columns.next()?, columns.next()?, columns.next()?);
            let why = columns.nth(1).unwrap_or_default();
            let flag = flag.parse().ok();
            let meaning = match class {
                "sql" => Meaning::RunsText,
                "relation" => Meaning::ReadsNamed,
                "setting" => Meaning::Sets,
                "read" => Meaning::Class(Class::Read, flag),
                "session" => Meaning::Class(Class::Session, flag),
                "write" => Meaning::Class(Class::Write, flag),
                "admin" => Meaning::Class(Class::Admin, flag),
                "destructive" => Meaning::Class(Class::Destructive, flag),
                _ => Meaning::Class(Class::Irreversible, flag),
            };
            Some((name, Known { meaning, why }))
        })
        .collect()
});

static STEADY: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| lines(include_str!("steady.txt")).collect());

static OF_EXTENSIONS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    lines(include_str!("extensions.tsv"))
        .filter_map(|line| line.split('\t').next())
        .collect()
});

static OPERATORS: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| lines(include_str!("operators.txt")).collect());

/// A table's lines without its comments, which begin with `# `; `#` is an operator.
fn lines(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|line| !line.starts_with("# "))
}

/// Functions of extensions that do more than compute: name, class, flag, why.
const REACHING_OUT: &[(&str, Class, Flag, &str)] = &[
    (
        "dblink",
        Class::Irreversible,
        Flag::Egress,
        "runs SQL in another database",
    ),
    (
        "http",
        Class::Irreversible,
        Flag::Egress,
        "sends a request from the server",
    ),
    (
        "pg_file",
        Class::Irreversible,
        Flag::Exec,
        "changes a file of the server",
    ),
    (
        "postgres_fdw",
        Class::Irreversible,
        Flag::Egress,
        "reaches another database",
    ),
];

/// How pg_dump since 12.20 sets a setting that older servers lack. The name is a column's, and this text
/// says which one it can only be.
const PG_DUMPS_SETTING: &str = "SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'";

impl Walk<'_> {
    /// A call, without its arguments' own meaning.
    pub(super) fn call(&mut self, call: &Message) -> Result<(), Unreadable> {
        let path = names(call.list("funcname"));
        let Some(name) = path.last().map(String::as_str) else {
            return Err(Unreadable::UnknownNode("a call without a name".to_owned()));
        };
        self.calls.insert(Called::Function(name.to_owned()));
        let schema = path.len().checked_sub(2).and_then(|at| path.get(at));
        let own = schema.is_none_or(|schema| schema == "pg_catalog");
        if own && let Some(known) = VOLATILE.get(name) {
            return self.known_call(name, known, call.list("args"));
        }
        if own && STEADY.contains(name) {
            return Ok(());
        }
        let usual = schema.is_none_or(|schema| schema == "public" || schema == "extensions");
        if (usual && OF_EXTENSIONS.contains(name))
            || schema.is_some_and(|schema| schema == "information_schema")
        {
            return Ok(());
        }
        if usual && name.starts_with("crosstab") {
            return self.run_texts(name, call.list("args"), &[0, 1]);
        }
        let reaching = REACHING_OUT
            .iter()
            .find(|(start, ..)| name.starts_with(start));
        if let Some((_, class, flag, why)) = reaching {
            let act = Act::new("call", *class).on([object("function", &path)]);
            self.act(act.flag(*flag).because(format!("{name}() {why}")));
            return Ok(());
        }
        self.unknown_call(&path);
        Ok(())
    }

    /// An operator by its possibly qualified name; nothing where the list is empty.
    pub(super) fn operator(&mut self, name: &[Value]) {
        let path = names(name);
        self.calls
            .extend(path.last().cloned().map(Called::Operator));
        let known = match path.as_slice() {
            [] => true,
            [name] => {
                // These words stand where the grammar made an expression of a construct.
                name.contains("BETWEEN") || OPERATORS.contains(name.as_str())
            }
            [schema, name] => schema == "pg_catalog" && OPERATORS.contains(name.as_str()),
            _ => false,
        };
        if !known {
            let act = Act::new("call", Class::Destructive)
                .flag(Flag::Exec)
                .unknown();
            let act = act.on([object("operator", &path)]);
            self.act(act.because(format!(
                "{} is not an operator of PostgreSQL's own: only the database knows which function it calls",
                path.join(".")
            )));
        }
    }

    pub(super) fn unknown_call(&mut self, path: &[String]) {
        self.calls
            .extend(path.last().cloned().map(Called::Function));
        let act = Act::new("call", Class::Destructive)
            .flag(Flag::Exec)
            .unknown();
        let act = act.on([object("function", path)]);
        self.act(act.because(format!(
            "{}() is not a function of PostgreSQL's own: only the database knows what it does",
            path.join(".")
        )));
    }

    /// The function of a trigger, which from now on is called whenever somebody changes the table.
    pub(super) fn trigger_call(&mut self, path: &[String]) {
        /// PostgreSQL's own functions for triggers of anybody's: they change the row that is written.
        const OWN: &[&str] = &[
            "suppress_redundant_updates_trigger",
            "tsvector_update_trigger",
            "tsvector_update_trigger_column",
        ];
        match path {
            [name] if OWN.contains(&name.as_str()) => {
                self.calls.insert(Called::Function(name.clone()));
            }
            [schema, name] if schema == "pg_catalog" && OWN.contains(&name.as_str()) => {}
            path => self.unknown_call(path),
        }
    }

    fn known_call(&mut self, name: &str, known: &Known, args: &[Value]) -> Result<(), Unreadable> {
        match known.meaning {
            Meaning::Class(Class::Read | Class::Session, None) => Ok(()),
            Meaning::Class(class, flag) => {
                let mut act = Act::new("call", class).on([object("function", &[name.to_owned()])]);
                if let Some(flag) = flag {
                    act = act.flag(flag);
                }
                self.act(act.because(format!("{name}(): {}", known.why)));
                Ok(())
            }
            // With three arguments ts_rewrite() only computes.
            Meaning::RunsText if name == "ts_rewrite" && args.len() == 3 => Ok(()),
            Meaning::RunsText if name == "ts_rewrite" => self.run_texts(name, args, &[1]),
            Meaning::RunsText => self.run_texts(name, args, &[0]),
            Meaning::ReadsNamed => {
                match args.first().and_then(constant_text) {
                    Some(text) if name.starts_with("table_") => {
                        let path: Vec<String> = text.split('.').map(unquoted).collect();
                        self.reads.push(object("table", &path));
                    }
                    Some(text)
                        if name.starts_with("schema_") && unquoted(&text) != "pg_catalog" =>
                    {
                        self.reads.push(object("schema", &[unquoted(&text)]));
                    }
                    _ => {
                        let act = Act::new("call", Class::Read).flag(Flag::SecretRead);
                        let act = act.on([object("function", &[name.to_owned()])]);
                        self.act(act.because(format!(
                            "{name}() may read the system's own tables, which hold password hashes"
                        )));
                    }
                }
                Ok(())
            }
            Meaning::Sets => {
                let value = args.get(1).and_then(constant_text);
                match args.first().and_then(constant_text) {
                    Some(setting) => self.setting(&setting, value.as_deref().map(|v| vec![v])),
                    None if self.text == PG_DUMPS_SETTING => {
                        self.setting(
                            "restrict_nonsystem_relation_kind",
                            value.as_deref().map(|v| vec![v]),
                        );
                    }
                    None => self.act(
                        Act::new("set", Class::Admin)
                            .flag(Flag::PermissionChange)
                            .because(
                                "which setting set_config() changes is known only when it runs",
                            ),
                    ),
                }
                Ok(())
            }
        }
    }

    /// A function that runs some of its arguments as SQL.
    fn run_texts(&mut self, name: &str, args: &[Value], which: &[usize]) -> Result<(), Unreadable> {
        let named = args.iter().any(|arg| arg.kind("NamedArgExpr").is_some());
        for arg in which.iter().filter_map(|at| args.get(*at)) {
            match constant_text(arg) {
                Some(text) if !named => self.nested(&text, ParserOptions::DEFAULT)?,
                _ => self.dynamic(&format!(
                    "{name}() runs a text that is known only when it runs"
                )),
            }
        }
        Ok(())
    }

    /// SQL that nobody can read before it runs: the worst there is.
    pub(super) fn dynamic(&mut self, why: &str) {
        self.act(
            Act::new("execute_text", Class::Irreversible)
                .flag(Flag::Exec)
                .unknown()
                .because(why),
        );
    }
}

/// Whether a call is of a function of PostgreSQL's own that computes its answer from its arguments and the
/// database as the statement sees it: not VOLATILE.
pub(super) fn only_computes(call: &Message) -> bool {
    let path = names(call.list("funcname"));
    match path.as_slice() {
        [name] => is_steady(name),
        [schema, name] => schema == "pg_catalog" && is_steady(name),
        _ => false,
    }
}

/// Whether calling any function of `pg_catalog` that has this name changes nothing.
pub fn is_steady(name: &str) -> bool {
    STEADY.contains(name) && !VOLATILE.contains_key(name)
}

/// Whether a function of PostgreSQL's or of an extension has this name, which a function of the user's
/// would then be called for.
pub(super) fn is_taken(name: &str) -> bool {
    VOLATILE.contains_key(name) || STEADY.contains(name) || OF_EXTENSIONS.contains(name)
}

/// A name in a text argument, as the server folds it.
fn unquoted(name: &str) -> String {
    let name = name.trim();
    match name
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => name.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_tables_is_read() {
        let rows: Vec<_> = lines(include_str!("volatile.tsv")).collect();
        assert_eq!(rows.len(), VOLATILE.len());
        let words = [
            "sql",
            "relation",
            "setting",
            "read",
            "session",
            "write",
            "admin",
            "destructive",
            "irreversible",
        ];
        for row in rows {
            let columns: Vec<_> = row.split('\t').collect();
            assert_eq!(columns.len(), 5, "{row}");
            assert!(words.contains(&columns[1]), "{row}");
            assert!(
                columns[2] == "-" || columns[2].parse::<Flag>().is_ok(),
                "{row}"
            );
        }
        assert!(STEADY.len() > 2_500);
        assert!(OPERATORS.contains("#") && OPERATORS.contains("="));
        assert!(VOLATILE.keys().all(|name| !STEADY.contains(name)));
    }
}
