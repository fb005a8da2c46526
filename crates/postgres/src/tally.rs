//! What a command's tag adds to the tally of a session ([`tagout_database::Tally`]).

use tagout_database::Done;

/// What a tag says of rows: `DELETE 3` (PostgreSQL's manual, "CommandComplete").
pub(crate) fn of_tag(tag: &str) -> Option<(Done, u64)> {
    let (word, rows) = tag.split_once(' ')?;
    let (done, rows) = match word {
        "DELETE" => (Done::Removed, rows),
        "UPDATE" | "MERGE" => (Done::Changed, rows),
        // Behind an OID that is always 0. Which of the rows were there already is not told.
        "INSERT" => (Done::Changed, rows.split_once(' ')?.1),
        _ => return None,
    };
    Some((done, rows.parse().ok()?))
}
