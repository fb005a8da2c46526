//! The settings under which the classifier reads a text as the server does. They are set at the beginning,
//! asked for after anything that may have changed them, and a client that changes them is refused.

use tokio::io::{AsyncRead, AsyncWrite};

use crate::server::{Server, ServerError};

/// Words of `sql_mode` under which a text is another text: what quotes mean, what `\`, `||` and NOT do,
/// and where a function's name ends. Some stand for several.
const OTHER_READINGS: &[&str] = &[
    "ANSI",
    "ANSI_QUOTES",
    "DB2",
    "HIGH_NOT_PRECEDENCE",
    "IGNORE_SPACE",
    "MAXDB",
    "MSSQL",
    "NO_BACKSLASH_ESCAPES",
    "ORACLE",
    "PIPES_AS_CONCAT",
    "POSTGRESQL",
];

/// Sets them, and makes the session read-only where `is_protected`.
pub(crate) async fn pin<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    is_protected: bool,
) -> Result<(), ServerError> {
    server.ask("SET NAMES utf8mb4").await?;
    let modes = server.ask("SELECT @@SESSION.sql_mode").await?.text(0, 0);
    let kept: Vec<_> = modes
        .split(',')
        .filter(|mode| !OTHER_READINGS.contains(mode))
        .collect();
    let kept = kept.join(",");
    if kept != modes {
        server
            .ask(&format!(
                "SET SESSION sql_mode = '{}'",
                kept.replace(['\'', '\\'], "")
            ))
            .await?;
    }
    if is_protected {
        server.ask("SET SESSION TRANSACTION READ ONLY").await?;
    }
    check(server, is_protected).await
}

/// Asks whether they are as they have to be.
pub(crate) async fn check<S: AsyncRead + AsyncWrite + Unpin>(
    server: &mut Server<S>,
    is_protected: bool,
) -> Result<(), ServerError> {
    let rows = server
        .ask(
            "SHOW SESSION VARIABLES WHERE Variable_name IN ('sql_mode', 'character_set_client', \
             'tx_read_only', 'transaction_read_only')",
        )
        .await?;
    let (mut modes, mut encoding, mut reads_only) = (false, false, false);
    for row in 0..rows.rows.len() {
        let value = rows.text(row, 1);
        match rows.text(row, 0).as_str() {
            "sql_mode" => {
                modes = !value.split(',').any(|mode| OTHER_READINGS.contains(&mode));
            }
            "character_set_client" => encoding = value.starts_with("utf8"),
            _ => reads_only |= value.eq_ignore_ascii_case("on") || value == "1",
        }
    }
    let wrong = match (modes, encoding, reads_only || !is_protected) {
        (false, _, _) => "sql_mode",
        (_, false, _) => "character_set_client",
        (_, _, false) => "transaction_read_only",
        _ => return Ok(()),
    };
    Err(ServerError::Unpinned(wrong.to_owned()))
}
