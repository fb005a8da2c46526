//! `tagout log` and `tagout verify`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use tagout_authority::approval::escape_untrusted;
use tagout_core::SessionId;
use tagout_ledger::{
    Entries, Entry, InstallKey, Known, Mark, ledger_path, verify as verify_ledger,
};
use tagout_session::Home;
use tagout_session::control::lives;
use tagout_session::report::{Report, Tone};
use tagout_store::Store;

use crate::command::open;
use crate::screen::paint;

/// How often `--follow` looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(crate) fn log(id: Option<String>, json: bool, follow: bool) -> anyhow::Result<u8> {
    let (home, store) = open()?;
    let id = session(id, &store)?;
    let path = ledger_path(home.path(), &id);
    if !path.exists() {
        // Who mistypes an id is told so, and not of a file.
        store.session(&id)?;
    }
    let mut entries = Entries::open(&path)?;
    loop {
        // Asked before reading: what a session writes last is read before it counts as gone.
        let lives = lives(&home, &id);
        for entry in entries.by_ref() {
            print(&entry?, json);
        }
        if !follow || !lives {
            return Ok(0);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

pub(crate) fn verify(
    what: Option<String>,
    key: Option<String>,
    checkpoint: Option<PathBuf>,
) -> anyhow::Result<u8> {
    let (home, store) = open()?;
    let (path, id) = subject(what, &home, &store)?;
    let status = match &id {
        Some(id) if !path.exists() => Some(store.session(id)?),
        Some(id) => store.session(id).ok(),
        None => None,
    };
    if let Some(status) = &status
        && !path.exists()
        && checkpoint.is_none()
    {
        // The store keeps how far a ledger was signed, from its first entry on.
        if let Some((entries, _)) = status.high_water {
            bail!(
                "{} is gone, although {entries} entries of it were signed",
                path.display()
            );
        }
        println!("nothing to verify: the session ended before its ledger was begun");
        return Ok(0);
    }
    let known = Known {
        install_key: match &key {
            Some(key) => Some(key.parse()?),
            None => InstallKey::load(home.path())?.map(|key| key.public()),
        },
        session: id,
        checkpoint: checkpoint
            .map(|path| {
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
            })
            .transpose()?,
        high_water: status
            .and_then(|status| status.high_water)
            .map(|(entries, root)| Mark { entries, root }),
    };
    let report = verify_ledger(&path, &known)?;
    println!("{}", path.display());
    if report.is_genuine() {
        println!(
            "{}  {} entries, {}; checked against {}",
            paint("verified", "1;32"),
            report.entries,
            if report.finished {
                "finished"
            } else {
                "not finished"
            },
            report.checked_against.join(", "),
        );
        if report.torn_bytes > 0 {
            println!(
                "          {} bytes at the end were cut off; nothing was released for them",
                report.torn_bytes
            );
        }
        if let Some(key) = &report.install_key {
            println!("          install key {key}");
        }
        return Ok(0);
    }
    for problem in &report.problems {
        println!("{}  {problem}", paint("broken", "1;31"));
    }
    Ok(1)
}

fn session(id: Option<String>, store: &Store) -> anyhow::Result<SessionId> {
    match id {
        Some(id) => Ok(id.parse()?),
        None => match store.sessions()?.first() {
            Some(newest) => Ok(newest.record.id.clone()),
            None => bail!("there is no session yet; start one with `tagout run -- CMD`"),
        },
    }
}

fn subject(
    what: Option<String>,
    home: &Home,
    store: &Store,
) -> anyhow::Result<(PathBuf, Option<SessionId>)> {
    if let Some(what) = &what
        && what.parse::<SessionId>().is_err()
    {
        let path = PathBuf::from(what);
        if path.is_file() {
            return Ok((path, None));
        }
    }
    let id = session(what, store)?;
    Ok((ledger_path(home.path(), &id), Some(id)))
}

fn print(entry: &Entry, json: bool) {
    if json {
        println!("{}", entry.to_json());
        return;
    }
    if entry.kind == "report" {
        print_report(entry);
        return;
    }
    let field = |name: &str| {
        entry
            .fields
            .get(name)
            .filter(|value| !value.is_null())
            .map(|value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            })
            .map(|text| escape_untrusted(&text))
    };
    let mut line = format!("{:>5}  {}  {:<13}", entry.seq, entry.time, entry.kind);
    if let Some(verdict) = field("verdict") {
        let colour = match verdict.as_str() {
            "allow" => "32",
            "hold" => "33",
            _ => "31",
        };
        line.push_str(&format!(" {}", paint(&verdict, colour)));
    }
    if let Some(operations) = entry
        .fields
        .get("operations")
        .and_then(|value| value.as_array())
    {
        for operation in operations {
            if let Some(name) = operation["name"].as_str() {
                line.push_str(&format!(" {}", escape_untrusted(name)));
            }
        }
    }
    for name in [
        "host",
        "method",
        "path",
        "environment",
        "status",
        "hold",
        "reason",
        "error",
    ] {
        if let Some(value) = field(name).filter(|value| !value.is_empty()) {
            line.push_str(&format!(" {}{value}", paint(&format!("{name}="), "2")));
        }
    }
    println!("{line}");
    for name in ["files", "repositories"] {
        let names = entry.fields.get(name).and_then(|value| value.as_array());
        for name in names.into_iter().flatten().filter_map(|name| name.as_str()) {
            println!("       {}", escape_untrusted(name));
        }
    }
}

/// The report that stood on the terminal when the session was over.
fn print_report(entry: &Entry) {
    println!("{:>5}  {}  report", entry.seq, entry.time);
    for line in Report::from_json(&entry.fields).lines {
        let parameter = match line.tone {
            Tone::Plain => "0",
            Tone::Warning => "33",
            Tone::Grant => "32",
            Tone::Faint => "2",
        };
        println!("       {}", paint(&line.text, parameter));
    }
}
