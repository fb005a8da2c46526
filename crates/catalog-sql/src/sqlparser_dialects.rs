//! MySQL, MariaDB and SQLite.

use crate::Dialect;
use crate::statement::{Statements, Unreadable};

pub(crate) fn classify(_dialect: Dialect, _text: &str) -> Result<Statements, Unreadable> {
    Err(Unreadable::NotExamined)
}
