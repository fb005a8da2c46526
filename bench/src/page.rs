//! The page: a section for each area. Areas that were not measured this time keep what they had.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

/// One area's figures.
pub(crate) struct Section {
    pub(crate) title: &'static str,
    /// What was measured how, a paragraph.
    pub(crate) about: String,
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

const OPENING: &str = "\
# Benchmarks

Written by `cargo xtask bench`, or `cargo xtask bench launch judge` for some of it. Every figure stands
beside its anchor, measured in the same run on the same machine; the ratio says more than the number.
Processor time is that of the process named, user and kernel; wall times are medians. The retrieval API
has [a page of its own](benchmarks-retrieval.md), as has [finding credentials](benchmarks-secrets.md).
";

/// Writes the page, with these sections renewed, and prints them.
pub(crate) fn write(path: &Path, sections: Vec<Section>) -> Result<()> {
    let old = std::fs::read_to_string(path).unwrap_or_default();
    let mut kept: Vec<(String, String)> = old
        .split("\n## ")
        .skip(1)
        .filter_map(|section| section.split_once('\n'))
        .map(|(title, text)| (title.to_owned(), text.trim_end().to_owned()))
        .collect();
    for section in sections {
        let text = section.text();
        println!("\n## {}\n{text}", section.title);
        match kept.iter_mut().find(|(title, _)| title == section.title) {
            Some((_, kept)) => *kept = text,
            None => kept.push((section.title.to_owned(), text)),
        }
    }
    let mut page = OPENING.to_owned();
    for (title, text) in kept {
        // Writing to a text cannot fail.
        let _ = write!(page, "\n## {title}\n{text}\n");
    }
    std::fs::write(path, page).with_context(|| path.display().to_string())
}

impl Section {
    fn text(&self) -> String {
        let mut text = format!("\n{}\n\n| {} |\n", self.about, self.columns.join(" | "));
        text.push_str(&format!("|{}\n", "---|".repeat(self.columns.len())));
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        text.trim_end().to_owned()
    }
}

/// The machine, for a section's paragraph.
pub(crate) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("an unnamed processor", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    format!("{cores} processors ({model}), load {load} when it began")
}
