//! Which settings of a MySQL session change nothing but how fast or in which notation something happens, and
//! which change how later texts are read.

use sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Set, Value};
use tagout_core::Flag;

use crate::statement::{Act, Class, Object};

/// Settings under which a text may be another text. A gate sets them, and asks for them again after a
/// statement that changes them.
const READING: &[&str] = &[
    "character_set_client",
    "character_set_connection",
    "collation_connection",
    "sql_mode",
];

/// Words of `sql_mode` under which every text stays the same text.
const SAFE_MODES: &[&str] = &[
    "",
    "allow_invalid_dates",
    "empty_string_is_null",
    "error_for_division_by_zero",
    "no_auto_create_user",
    "no_auto_value_on_zero",
    "no_dir_in_create",
    "no_engine_substitution",
    "no_field_options",
    "no_key_options",
    "no_table_options",
    "no_unsigned_subtraction",
    "no_zero_date",
    "no_zero_in_date",
    "only_full_group_by",
    "pad_char_to_full_length",
    "real_as_float",
    "simultaneous_assignment",
    "strict_all_tables",
    "strict_trans_tables",
    "time_round_fractional",
    "time_truncate_fractional",
    "traditional",
];

/// Settings of a session that change how fast or in which notation something happens, or how much of it is
/// checked.
const HARMLESS: &[&str] = &[
    "autocommit",
    "character_set_results",
    "foreign_key_checks",
    "group_concat_max_len",
    "information_schema_stats_expiry",
    "innodb_lock_wait_timeout",
    "interactive_timeout",
    "join_buffer_size",
    "lc_messages",
    "lc_time_names",
    "lock_wait_timeout",
    "long_query_time",
    "max_execution_time",
    "max_heap_table_size",
    "max_join_size",
    "max_statement_time",
    "net_read_timeout",
    "net_write_timeout",
    "optimizer_switch",
    "read_buffer_size",
    "sort_buffer_size",
    "sql_auto_is_null",
    "sql_big_selects",
    "sql_notes",
    "sql_quote_show_create",
    "sql_safe_updates",
    "sql_select_limit",
    "sql_warnings",
    "time_zone",
    "timestamp",
    "tmp_table_size",
    "transaction_isolation",
    "tx_isolation",
    "unique_checks",
    "wait_timeout",
];

enum Verdict {
    Harmless,
    /// What it will be is known only to the server.
    Moves(&'static str),
    Other(Option<&'static str>),
}

/// What a SET does. `alone` where no other statement stands in the text.
pub(crate) fn setting(set: &Set, alone: bool) -> Act {
    let mut act = Act::new("set", Class::Session);
    for verdict in verdicts(set) {
        match verdict {
            Verdict::Harmless => {}
            Verdict::Moves(name) if alone => act.objects.push(named(name)),
            Verdict::Moves(name) | Verdict::Other(Some(name)) => {
                act.class = Class::Admin;
                act.objects.push(named(name));
            }
            Verdict::Other(None) => act.class = Class::Admin,
        }
    }
    match act.class {
        Class::Admin => act
            .flag(Flag::PermissionChange)
            .because("the setting changes how later statements are read or checked"),
        _ => act,
    }
}

fn named(name: &str) -> Object {
    Object {
        kind: "setting",
        schema: None,
        name: name.to_owned(),
    }
}

fn verdicts(set: &Set) -> Vec<Verdict> {
    match set {
        Set::SetNames { charset_name, .. } => {
            vec![encoding("character_set_client", &charset_name.value)]
        }
        Set::SetTransaction { modes, .. } => {
            use sqlparser::ast::{TransactionAccessMode, TransactionMode};
            let writes = TransactionMode::AccessMode(TransactionAccessMode::ReadWrite);
            match modes.contains(&writes) {
                true => vec![Verdict::Other(None)],
                false => vec![Verdict::Harmless],
            }
        }
        Set::SingleAssignment {
            scope,
            variable,
            values,
            ..
        } => {
            let scope = scope.as_ref().map(ToString::to_string);
            let value = match values.as_slice() {
                [one] => Some(one),
                _ => None,
            };
            vec![assigned(scope.as_deref(), &variable.to_string(), value)]
        }
        Set::MultipleAssignments { assignments } => assignments
            .iter()
            .map(|one| {
                let scope = one.scope.as_ref().map(ToString::to_string);
                assigned(scope.as_deref(), &one.name.to_string(), Some(&one.value))
            })
            .collect(),
        _ => vec![Verdict::Other(None)],
    }
}

fn assigned(scope: Option<&str>, name: &str, value: Option<&Expr>) -> Verdict {
    let is_session = |scope: &str| matches!(scope.trim(), "" | "session" | "local");
    let scope = scope.unwrap_or_default().to_lowercase();
    let name = name.to_lowercase().replace('`', "");
    let Some(value) = value else {
        return Verdict::Other(None);
    };
    if !is_session(&scope) {
        return Verdict::Other(None);
    }
    let name = match name.strip_prefix("@@") {
        Some(name) => match name.split_once('.') {
            Some((scope, name)) if is_session(scope) => name,
            Some(_) => return Verdict::Other(None),
            None => name,
        },
        // A variable of the user's own.
        None if name.starts_with('@') => return Verdict::Harmless,
        None => &name,
    };
    if HARMLESS.contains(&name) {
        return Verdict::Harmless;
    }
    let Some(reading) = READING.iter().find(|known| **known == name) else {
        return Verdict::Other(None);
    };
    match (*reading, word(value)) {
        (_, Word::Unknown) => Verdict::Other(Some(reading)),
        (_, Word::Server) => Verdict::Moves(reading),
        ("sql_mode", Word::Known(modes)) => {
            let is_safe = |mode: &str| SAFE_MODES.contains(&mode.trim());
            match modes.to_lowercase().split(',').all(is_safe) {
                true => Verdict::Harmless,
                false => Verdict::Other(Some(reading)),
            }
        }
        (reading, Word::Known(name)) => encoding(reading, &name),
    }
}

fn encoding(setting: &'static str, name: &str) -> Verdict {
    let name = name.to_lowercase();
    match name.split('_').next() {
        Some("utf8" | "utf8mb3" | "utf8mb4") => Verdict::Harmless,
        _ => Verdict::Other(Some(setting)),
    }
}

/// What a value is, as far as its text tells.
enum Word {
    Known(String),
    /// A variable of the user's: what it holds is known to the server.
    Server,
    Unknown,
}

fn word(value: &Expr) -> Word {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => {
                Word::Known(text.clone())
            }
            _ => Word::Unknown,
        },
        Expr::Identifier(name) if name.value.starts_with("@@") => {
            // What it is now is safe, or a gate would have ended the connection.
            match name.value.to_lowercase().as_str() {
                "@@sql_mode" => Word::Known(String::new()),
                _ => Word::Server,
            }
        }
        Expr::Identifier(name) if name.value.starts_with('@') => Word::Server,
        Expr::Identifier(name) => Word::Known(name.value.clone()),
        Expr::CompoundIdentifier(parts) => {
            let parts: Vec<_> = parts.iter().map(|part| part.value.to_lowercase()).collect();
            match parts.join(".").as_str() {
                "@@session.sql_mode" | "@@local.sql_mode" => Word::Known(String::new()),
                _ => Word::Unknown,
            }
        }
        // What Rails and Django send: what it is, and something more.
        Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("concat") => {
            let FunctionArguments::List(list) = &function.args else {
                return Word::Unknown;
            };
            let mut whole = String::new();
            for argument in &list.args {
                let FunctionArg::Unnamed(FunctionArgExpr::Expr(part)) = argument else {
                    return Word::Unknown;
                };
                match word(part) {
                    Word::Known(part) => whole.push_str(&part),
                    other => return other,
                }
            }
            Word::Known(whole)
        }
        _ => Word::Unknown,
    }
}
