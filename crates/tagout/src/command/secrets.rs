//! `tagout secrets scan`: on a terminal a table that fits it, elsewhere a line a finding, as compilers
//! write them; with `--json` one object a line. Archives are looked into. Of a repository also what its history alone holds, once. Never a value.

use std::collections::HashSet;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use ignore::WalkBuilder;
use tagout_core::Digest;
use tagout_secrets::{Confidence, Detector, Finding};
use tagout_session::{archives, history};

use crate::arguments::SecretsCommand;
use crate::screen::paint;

/// Larger files are named and not read.
const LARGEST: u64 = 64 * 1024 * 1024;
/// Where the terminal does not say how wide it is.
const USUAL_WIDTH: usize = 80;
/// The longest kinds are `basic-authorization` and names of rules; longer ones are shortened.
const WIDEST_KIND: usize = 28;

/// A finding as it is shown.
struct Row {
    place: String,
    kind: String,
    confidence: Confidence,
}

pub(crate) fn secrets(command: SecretsCommand) -> anyhow::Result<u8> {
    let SecretsCommand::Scan { path, json } = command;
    fs::metadata(&path).with_context(|| format!("cannot look at {}", path.display()))?;
    let mut shown = Shown::new(&path, json);
    let walk = WalkBuilder::new(&path)
        .standard_filters(false)
        .follow_links(false)
        .sort_by_file_path(|a, b| a.cmp(b))
        .filter_entry(|entry| entry.file_name() != ".git")
        .build();
    let (mut files, mut with_findings) = (0_u64, 0_u64);
    for entry in walk.flatten() {
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        files += 1;
        if files.is_multiple_of(256) {
            shown.progress(&format!("{files} files"));
        }
        let Some(bytes) = read(entry.path()) else {
            continue;
        };
        let before = shown.findings;
        for within in archives::look_into(entry.path(), &bytes) {
            let name = name_within(entry.path(), &within.name);
            for finding in within.findings {
                shown.finding(&name, None, &within.bytes, finding);
            }
        }
        // What is not compressed in an archive has a better place there.
        if before == shown.findings {
            for finding in Detector::builtin().scan(entry.path(), &bytes) {
                shown.finding(entry.path(), None, &bytes, finding);
            }
        }
        with_findings += u64::from(shown.findings > before);
    }
    let in_files = shown.findings;
    shown.progress("the history");
    let looked = history::look_through(&path, |past| {
        for finding in past.findings {
            shown.finding(
                &path.join(past.path),
                Some(past.commit),
                past.bytes,
                finding,
            );
        }
    });
    shown.progress("");
    if let Err(error) = looked {
        eprintln!("tagout: the git history could not be looked at: {error}");
    }
    if shown.table {
        show(&shown.rows)?;
        let in_history = match shown.findings - in_files {
            0 => String::new(),
            found => format!(", {found} more in the git history"),
        };
        let summary = match in_files {
            0 => format!("nothing found in {}{in_history}", count(files, "file")),
            found => format!(
                "{} in {} of {}{in_history}",
                count(found, "finding"),
                count(with_findings, "file"),
                count(files, "file")
            ),
        };
        println!("{}", paint(&summary, "2"));
        if shown.findings > 0 {
            let mut then = vec!["In a session files show decoys in their places, archives zeros."];
            if shown.findings > in_files {
                then.push("Gates refuse values of the history; git shows them: renew them.");
            }
            for line in then {
                println!("{}", paint(line, "2"));
            }
        }
    }
    Ok(0)
}

/// Findings as they are shown.
struct Shown<'a> {
    folder: &'a Path,
    json: bool,
    table: bool,
    shows_progress: bool,
    rows: Vec<Row>,
    findings: u64,
    /// Digests of the values that were shown, so that the history tells of others only.
    values: HashSet<Digest>,
}

impl<'a> Shown<'a> {
    fn new(folder: &'a Path, json: bool) -> Self {
        Self {
            folder,
            json,
            table: !json && std::io::stdout().is_terminal(),
            shows_progress: std::io::stderr().is_terminal(),
            rows: Vec::new(),
            findings: 0,
            values: HashSet::new(),
        }
    }

    /// Says how far it is; nothing takes it away.
    fn progress(&self, text: &str) {
        // Lines that are printed as they are found would run into it.
        if self.shows_progress && self.table {
            match text {
                "" => eprint!("\r\x1b[K"),
                text => eprint!("\r\x1b[Klooking for secrets: {text}"),
            }
        }
    }

    /// `past` is the commit of a version that is no file now, if it is in one.
    fn finding(&mut self, path: &Path, past: Option<Option<&str>>, bytes: &[u8], finding: Finding) {
        let value = bytes.get(finding.span.clone()).unwrap_or_default();
        let is_new = self.values.insert(Digest::of(value));
        if past.is_some() && !is_new {
            return;
        }
        self.findings += 1;
        if self.json {
            println!("{}", object(path, past, bytes, &finding));
            return;
        }
        let (line, column) = place(bytes, finding.span.start);
        // In a table the path below the folder says enough.
        let name = match path.strip_prefix(self.folder) {
            Ok(below) if self.table && !below.as_os_str().is_empty() => below,
            _ => path,
        };
        let name = name.display().to_string().escape_debug().to_string();
        let source = match past {
            None => String::new(),
            Some(None) => " in git's index".to_owned(),
            Some(Some(commit)) => format!(" in {}", commit.get(..10).unwrap_or(commit)),
        };
        if self.table {
            self.rows.push(Row {
                place: format!("{name}:{line}{source}"),
                kind: finding.kind,
                confidence: finding.confidence,
            });
        } else {
            println!("{name}:{line}:{column}  {}{source}", finding.kind);
        }
    }
}

fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// `backup.zip!db/.env`, as gitleaks names a file within an archive.
fn name_within(archive: &Path, name: &Path) -> PathBuf {
    let mut place = archive.as_os_str().to_owned();
    place.push("!");
    place.push(name);
    place.into()
}

/// What is in a file; what cannot be read is said.
fn read(path: &Path) -> Option<Vec<u8>> {
    if fs::metadata(path).is_ok_and(|found| found.len() > LARGEST) {
        eprintln!(
            "tagout: {} is larger than 64 MiB and was not read",
            path.display()
        );
        return None;
    }
    fs::read(path)
        .inspect_err(|error| eprintln!("tagout: {}: {error}", path.display()))
        .ok()
}

fn object(
    path: &Path,
    past: Option<Option<&str>>,
    bytes: &[u8],
    finding: &Finding,
) -> serde_json::Value {
    let (start_line, start_col) = place(bytes, finding.span.start);
    let (end_line, end_col) = place(bytes, finding.span.end);
    let mut object = serde_json::json!({
        "file": path.display().to_string(),
        "start_line": start_line,
        "start_col": start_col,
        "end_line": end_line,
        "end_col": end_col,
        "kind": finding.kind,
        "confidence": finding.confidence,
    });
    if let Some(commit) = past {
        object["commit"] = commit.into();
    }
    object
}

/// Shows the rows as a table of the terminal's width.
fn show(rows: &[Row]) -> std::io::Result<()> {
    let width = rustix::termios::tcgetwinsize(std::io::stdout())
        .map_or(USUAL_WIDTH, |size| usize::from(size.ws_col))
        .max(40);
    let mut out = std::io::stdout().lock();
    for line in lines(rows, width) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// The lines of a table that is at most `width` characters wide; of a long path the end is kept.
fn lines(rows: &[Row], width: usize) -> Vec<String> {
    const CONFIDENCE: usize = "medium".len();
    let longest = |text: fn(&Row) -> usize| rows.iter().map(text).max().unwrap_or(0);
    let kind = longest(|row| row.kind.chars().count())
        .min(WIDEST_KIND)
        .min(width / 3);
    let place = longest(|row| row.place.chars().count())
        .min(width.saturating_sub(kind + CONFIDENCE + 4))
        .max(1);
    rows.iter()
        .map(|row| {
            let (confidence, colour) = match row.confidence {
                Confidence::High => ("high", "31"),
                Confidence::Medium => ("medium", "33"),
                Confidence::Low => ("low", "2"),
            };
            format!(
                "{:place$}  {:kind$}  {}",
                shortened(&row.place, place, true),
                shortened(&row.kind, kind, false),
                paint(confidence, colour),
            )
        })
        .collect()
}

/// At most so many characters, with a sign where some are missing: at the front or at the end.
fn shortened(text: &str, most: usize, front: bool) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let kept = most.saturating_sub(1);
    if front {
        std::iter::once('…')
            .chain(text.chars().skip(length - kept))
            .collect()
    } else {
        text.chars().take(kept).chain(['…']).collect()
    }
}

/// Line and byte column of an offset, counted from 1.
fn place(bytes: &[u8], offset: usize) -> (usize, usize) {
    let before = bytes.get(..offset).unwrap_or(bytes);
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before
        .iter()
        .rev()
        .take_while(|byte| **byte != b'\n')
        .count()
        + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_and_keeps_the_ends_of_paths() {
        let row = |place: &str, kind: &str| Row {
            place: place.to_owned(),
            kind: kind.to_owned(),
            confidence: Confidence::Low,
        };
        let rows = [
            row(".env:1", "github-pat"),
            row(
                &format!("{}/deep/config.yaml:123", "very-long-folder/".repeat(9)),
                &"k".repeat(50),
            ),
        ];
        for width in [40, 80, 200] {
            for line in lines(&rows, width) {
                // Without the colour, where there is one.
                let plain = line.replace("\u{1b}[2m", "").replace("\u{1b}[0m", "");
                assert!(plain.chars().count() <= width, "{width}: {plain}");
            }
            assert!(lines(&rows, width)[1].contains(".yaml:123  k"), "{width}");
        }
        assert_eq!(place(b"a\nbc", 3), (2, 2));
    }
}
