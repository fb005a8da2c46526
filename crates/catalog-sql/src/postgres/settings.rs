//! Settings. A setting that changes how later text is read, who is asked or what is checked takes the
//! ground from under every later verdict, so what is not listed as harmless needs a person.

use tagout_core::Flag;

use super::Walk;
use crate::statement::{Act, Class, Object};

/// Settings that change how fast, how loud or in which notation something happens.
const HARMLESS: &[&str] = &[
    "application_name",
    "array_nulls",
    "bytea_output",
    "check_function_bodies",
    "client_connection_check_interval",
    "client_min_messages",
    "cursor_tuple_fraction",
    "datestyle",
    "deadlock_timeout",
    "default_statistics_target",
    "default_table_access_method",
    "default_tablespace",
    "default_text_search_config",
    "default_toast_compression",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_with_oids",
    "effective_cache_size",
    "effective_io_concurrency",
    "extra_float_digits",
    "from_collapse_limit",
    "geqo",
    "hash_mem_multiplier",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "jit",
    "join_collapse_limit",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lock_timeout",
    "logical_decoding_work_mem",
    "maintenance_work_mem",
    "plan_cache_mode",
    "quote_all_identifiers",
    "random_page_cost",
    // It takes from what a session may do.
    "restrict_nonsystem_relation_kind",
    "seed",
    "seq_page_cost",
    "statement_timeout",
    "synchronize_seqscans",
    "synchronous_commit",
    "tcp_keepalives_count",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "temp_buffers",
    "timezone",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_timeout",
    "work_mem",
    "xmlbinary",
    "xmloption",
];

/// Families of them.
const HARMLESS_STARTS: &[&str] = &[
    "constraint_",
    "cpu_",
    "enable_",
    "geqo_",
    "jit_above",
    "jit_inline",
    "jit_optimize",
    "max_parallel_",
    "min_parallel_",
    "parallel_",
    "vacuum_cost_",
];

/// Settings that are harmless with these values only: names of the value as it is written.
const HARMLESS_VALUES: &[(&str, &[&str])] = &[
    ("client_encoding", &["utf8", "utf-8", "unicode", "utf_8"]),
    ("default_transaction_read_only", &["on", "true", "1", "yes"]),
    ("escape_string_warning", &["on", "true", "1", "yes"]),
    // `off` makes what a row policy would hide an error instead.
    (
        "row_security",
        &["on", "off", "true", "false", "1", "0", "yes", "no"],
    ),
    ("session_replication_role", &["origin"]),
    ("standard_conforming_strings", &["on", "true", "1", "yes"]),
    ("transaction_read_only", &["on", "true", "1", "yes"]),
];

impl Walk<'_> {
    /// A setting gets a value; `None` where the value is not in the text.
    pub(super) fn setting(&mut self, name: &str, value: Option<Vec<&str>>) {
        let name = name.to_lowercase();
        let harmless = match name.as_str() {
            "search_path" => value.as_deref().is_some_and(keeps_pg_catalog_first),
            // A name with a dot is the application's own, or an extension's.
            custom if custom.contains('.') => {
                !EXTENSIONS_OWN.iter().any(|own| custom.starts_with(own))
            }
            plain => {
                let plain_is_harmless = HARMLESS.contains(&plain)
                    || HARMLESS_STARTS.iter().any(|start| plain.starts_with(start));
                let value_is = |allowed: &[&str]| matches!(value.as_deref(), Some([one]) if allowed.contains(&one.to_lowercase().as_str()));
                let mut tied = HARMLESS_VALUES.iter();
                plain_is_harmless || tied.any(|(tied, values)| *tied == plain && value_is(values))
            }
        };
        self.act(set(&name, harmless));
    }

    /// A setting goes back to what the server or the role says, which the text does not tell.
    pub(super) fn reset(&mut self, name: &str) {
        let name = name.to_lowercase();
        let harmless = HARMLESS.contains(&name.as_str())
            || HARMLESS_STARTS.iter().any(|start| name.starts_with(start))
            || name.contains('.')
            || matches!(
                name.as_str(),
                "search_path" | "row_security" | "session_replication_role"
            );
        self.act(set(&name, harmless));
    }
}

/// Settings of extensions by which they run or load something.
const EXTENSIONS_OWN: &[&str] = &["plperl.", "pltcl.", "plpgsql.", "plv8.", "cron.", "pg_net."];

/// Functions are found where a path's first schema has them: before `pg_catalog`, a user's `now()` would
/// be called. Where the path does not name it, it comes first.
fn keeps_pg_catalog_first(path: &[&str]) -> bool {
    let mut schemas = path.iter().flat_map(|part| part.split(','));
    let named = schemas.position(|schema| schema.trim().trim_matches('"') == "pg_catalog");
    named.is_none_or(|at| at == 0)
}

fn set(name: &str, harmless: bool) -> Act {
    let setting = Object {
        kind: "setting",
        schema: None,
        name: name.to_owned(),
    };
    match harmless {
        true => Act::new("set", Class::Session).on([setting]),
        false => Act::new("set", Class::Admin)
            .flag(Flag::PermissionChange)
            .on([setting])
            .because(format!(
                "the setting {name} changes how later statements are read or checked"
            )),
    }
}
