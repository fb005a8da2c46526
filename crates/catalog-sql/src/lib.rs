//! What a SQL text would do. PostgreSQL is read with PostgreSQL's own grammar (libpg_query, C, which
//! is why this is a leaf crate), MySQL, MariaDB and SQLite with `sqlparser`. Nothing is executed and no
//! database is asked, so a name is taken for what it says: what a view, trigger or cascade behind it
//! does is for whoever can ask the catalog.
//!
//! Three things must stay true. Every part of a statement is looked at: the walk is over the whole
//! tree, and a kind of node that no table names makes the text unreadable. What only a server could
//! know is taken for the worst. And no text, however long or deep, ends the process: parsing happens on
//! threads with stacks of their own, sized for the deepest tree that the parsers give.
//!
//! The answer is about the text under the settings that PostgreSQL has by default. With
//! `standard_conforming_strings = off` or an encoding other than UTF-8 a server reads another text: a
//! gate pins both.

mod mysql_settings;
mod mysql_text;
mod postgres;
mod sqlparser_dialects;
mod statement;
mod worker;

pub use mysql_text::{MysqlRows, with_values};
pub use postgres::is_steady;
pub use statement::{
    Act, Called, Class, Object, RowQuery, Statement, Statements, Uncountable, Unreadable, WhereKind,
};
pub use worker::{Classifier, classify_short, mysql_rows, row_queries};

use std::str::FromStr;

/// The longest text that is read, in bytes.
pub const LONGEST_TEXT: usize = 1 << 20;

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// PostgreSQL, by the grammar of version 18.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// SQLite.
    Sqlite,
}

impl Dialect {
    /// The word of `tagout check --jsonl`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Sqlite => "sqlite",
        }
    }
}

impl FromStr for Dialect {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "postgres" => Ok(Self::Postgres),
            "mysql" => Ok(Self::Mysql),
            "sqlite" => Ok(Self::Sqlite),
            _ => Err(()),
        }
    }
}
