//! The SQL classifier's tables of functions beside a real PostgreSQL: the server's own list, from which it
//! makes its catalog, names no function that the tables do not.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

const VOLATILE: &str = include_str!("../../crates/catalog-sql/src/postgres/volatile.tsv");
const STEADY: &str = include_str!("../../crates/catalog-sql/src/postgres/steady.txt");

/// The lists of the servers that Debian's packages have put here.
fn server_lists() -> Vec<PathBuf> {
    let versions = std::fs::read_dir("/usr/share/postgresql")
        .into_iter()
        .flatten();
    versions
        .flatten()
        .map(|version| version.path().join("postgres.bki"))
        .filter(|list| list.exists())
        .collect()
}

/// The functions of a list, and whether one of each name is declared VOLATILE.
fn functions(list: &str) -> HashMap<&str, bool> {
    let rows = list
        .lines()
        .skip_while(|line| !line.starts_with("create pg_proc "))
        .take_while(|line| !line.starts_with("close pg_proc"));
    let mut functions = HashMap::new();
    for row in rows {
        // insert ( oid proname namespace owner lang cost rows variadic support kind secdef leakproof strict
        // retset volatile …
        let Some(columns) = row.strip_prefix("insert ( ") else {
            continue;
        };
        let columns: Vec<&str> = columns.split(' ').collect();
        *functions.entry(columns[1]).or_default() |= columns[14] == "v";
    }
    functions
}

#[test]
fn every_function_of_a_real_server_is_in_a_table() {
    let lists = server_lists();
    assert!(
        !lists.is_empty(),
        "no PostgreSQL here: apt-get install postgresql, as `cargo xtask test` does"
    );
    let table = |text: &'static str| -> HashSet<&str> {
        let rows = text.lines().filter(|line| !line.starts_with("# "));
        rows.filter_map(|line| line.split('\t').next()).collect()
    };
    let (volatile, steady) = (table(VOLATILE), table(STEADY));
    for list in lists {
        let text = std::fs::read_to_string(&list).expect("the list is readable");
        let functions = functions(&text);
        assert!(
            functions.len() > 2_000,
            "{}: {}",
            list.display(),
            functions.len()
        );
        for (name, is_volatile) in functions {
            let listed = volatile.contains(name) || (!is_volatile && steady.contains(name));
            assert!(
                listed,
                "{}: {name}, volatile: {is_volatile}",
                list.display()
            );
        }
    }
}
