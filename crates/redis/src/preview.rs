//! What commands would take, for the person who is asked: counted on a connection of the gate's own, by
//! commands that only read.

use crate::command::Command;
use crate::judging::Batch;
use crate::reply::Value;
use crate::server::{Server, ServerError};
use crate::table::Meaning;

/// Keys whose type and time are told one by one.
const MOST_SHOWN: usize = 20;

/// What was shown, and so what an approval covers: the most keys that the database may have when all of them go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    most: i64,
}

impl Bound {
    /// Whether the database still has no more keys than were shown.
    pub(crate) async fn holds(self, server: &mut Server) -> Result<bool, ServerError> {
        Ok(size(server).await? <= self.most)
    }
}

/// One fact a line, the loss first, never none; and what of it an approval is held to.
pub(crate) async fn preview(server: &mut Server, batch: &Batch) -> (Vec<String>, Option<Bound>) {
    let mut bound = None;
    let mut lines = match look(server, batch, &mut bound).await {
        Ok(lines) => lines,
        Err(why) => vec![format!("cannot be previewed: {why}")],
    };
    for script in batch.scripts() {
        let text = script
            .words()
            .get(1)
            .map(|text| String::from_utf8_lossy(text));
        lines.push(
            "Once approved, this script runs in this session without asking, with any keys and arguments:"
                .to_owned(),
        );
        lines.extend(
            text.iter()
                .flat_map(|text| text.lines())
                .map(|line| format!("  {line}")),
        );
    }
    lines.push("Nothing of what it takes is kept: it cannot be undone.".to_owned());
    (lines, bound)
}

async fn size(server: &mut Server) -> Result<i64, ServerError> {
    match server.ask(&Command::of(&["DBSIZE"])).await? {
        Value::Number(size) => Ok(size),
        _ => Err(crate::ProtocolError::Answer.into()),
    }
}

async fn look(
    server: &mut Server,
    batch: &Batch,
    bound: &mut Option<Bound>,
) -> Result<Vec<String>, ServerError> {
    let mut lines = Vec::new();
    for (command, meaning) in &batch.commands {
        match meaning {
            Meaning::Empties => {
                let size = size(server).await?;
                *bound = Some(Bound { most: size });
                lines.push(format!("exactly {size} keys removed, all of the database"));
            }
            Meaning::EmptiesAll => {
                let info = server.ask(&Command::of(&["INFO", "keyspace"])).await?;
                let Value::Bytes(info) = info else {
                    return Err(crate::ProtocolError::Answer.into());
                };
                lines.push(
                    "every database of the server is emptied, also those of others:".to_owned(),
                );
                lines.extend(keyspace(&String::from_utf8_lossy(&info)));
            }
            Meaning::Script | Meaning::Opaque => {
                lines.push(format!(
                    "cannot be previewed: nobody can say what {} does before it has run",
                    command.name().to_ascii_uppercase()
                ));
            }
            _ => {}
        }
    }
    let keys: Vec<_> = batch.removed().cloned().collect();
    if !keys.is_empty() {
        let mut words = vec![b"EXISTS".to_vec()];
        words.extend(keys.iter().cloned());
        if let Some(exists) = Command::new(words)
            && let Value::Number(count) = server.ask(&exists).await?
        {
            lines.push(format!(
                "exactly {count} of the {} keys that it names exist",
                keys.len()
            ));
        }
        for key in keys.iter().take(MOST_SHOWN) {
            let of = |word: &str| Command::new(vec![word.as_bytes().to_vec(), key.clone()]);
            if let (Some(kind), Some(left)) = (of("TYPE"), of("PTTL"))
                && let (Value::Line(kind), Value::Number(left)) =
                    (server.ask(&kind).await?, server.ask(&left).await?)
                && kind != "none"
            {
                let key = Command::new(vec![key.clone()]).map(|key| key.text());
                let left = match left {
                    ..0 => "no expiry".to_owned(),
                    left => format!("expires in {} s", left / 1000),
                };
                lines.push(format!("{}: {kind}, {left}", key.unwrap_or_default()));
            }
        }
    }
    if lines.is_empty() {
        lines.push("no key is known that it removes".to_owned());
    }
    Ok(lines)
}

/// `db0:keys=2,expires=0,…`, a line each.
fn keyspace(info: &str) -> Vec<String> {
    let databases = info.lines().filter_map(|line| {
        let (database, rest) = line.strip_prefix("db")?.split_once(":keys=")?;
        let keys = rest.split(',').next()?;
        Some(format!("database {database}: {keys} keys removed"))
    });
    databases.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_of_a_server() {
        let info =
            "# Keyspace\r\ndb0:keys=3,expires=0,avg_ttl=0\r\ndb7:keys=1,expires=1,avg_ttl=5\r\n";
        assert_eq!(
            keyspace(info),
            ["database 0: 3 keys removed", "database 7: 1 keys removed"]
        );
    }
}
