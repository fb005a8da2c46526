//! `tagout secrets scan`.

use std::fs;
use std::path::Path;

use anyhow::Context;
use ignore::WalkBuilder;
use tagout_secrets::Detector;

use crate::arguments::SecretsCommand;
use crate::screen::paint;

/// Larger files are named and not read.
const LARGEST: u64 = 64 * 1024 * 1024;

pub(crate) fn secrets(command: SecretsCommand) -> anyhow::Result<u8> {
    let SecretsCommand::Scan { path, json } = command;
    fs::metadata(&path).with_context(|| format!("cannot look at {}", path.display()))?;
    let walk = WalkBuilder::new(&path)
        .standard_filters(false)
        .follow_links(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .build();
    for entry in walk.flatten() {
        if entry.file_type().is_some_and(|kind| kind.is_file()) {
            scan(entry.path(), json)?;
        }
    }
    Ok(0)
}

fn scan(path: &Path, json: bool) -> anyhow::Result<()> {
    let large = fs::metadata(path).is_ok_and(|found| found.len() > LARGEST);
    let bytes = match fs::read(path) {
        Ok(bytes) if !large => bytes,
        Ok(_) => {
            eprintln!(
                "tagout: {} is larger than 64 MiB and was not read",
                path.display()
            );
            return Ok(());
        }
        Err(error) => {
            eprintln!("tagout: {}: {error}", path.display());
            return Ok(());
        }
    };
    for finding in Detector::builtin().scan(path, &bytes) {
        let (start_line, start_col) = place(&bytes, finding.span.start);
        let (end_line, end_col) = place(&bytes, finding.span.end);
        if json {
            let line = serde_json::json!({
                "file": path.display().to_string(),
                "start_line": start_line,
                "start_col": start_col,
                "end_line": end_line,
                "end_col": end_col,
                "kind": finding.kind,
                "confidence": finding.confidence,
            });
            println!("{line}");
        } else {
            println!(
                "{}:{start_line}:{start_col}  {}",
                path.display().to_string().escape_debug(),
                paint(&finding.kind, "33")
            );
        }
    }
    Ok(())
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
