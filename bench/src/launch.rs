//! What a launch costs: the bare command, bubblewrap, and `tagout run`, with its state on the disk and
//! with its state in memory, where a sync costs nothing.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::Subject;
use crate::page::{Section, machine};
use crate::process::{children_time, median};

/// How often each command runs. Rounds go through all commands in turn.
const ROUNDS: u32 = 40;

/// One command and where it keeps its state.
struct Candidate<'a> {
    name: &'static str,
    words: Vec<&'a str>,
    home: &'a Path,
    wall: Vec<f64>,
    processor: f64,
}

pub(crate) fn measure(subject: &Subject) -> Result<Section> {
    let machine = machine();
    let disk = tempfile::Builder::new()
        .prefix("tagout-bench-")
        .tempdir_in("/var/tmp")?;
    let memory = tempfile::Builder::new()
        .prefix("tagout-bench-")
        .tempdir_in("/dev/shm")?;
    let workspace = disk.path().join("work");
    std::fs::create_dir_all(&workspace)?;
    let tagout = subject.tagout.to_str().context("a path in UTF-8")?;
    let megabytes = std::fs::metadata(&subject.tagout)?.len() as f64 / 1e6;
    let candidate = |name, words: &[&'static str], home| Candidate {
        name,
        words: words.to_vec(),
        home,
        wall: Vec::new(),
        processor: 0.0,
    };
    let run = |name, home| Candidate {
        name,
        words: vec![tagout, "run", "--", "true"],
        home,
        wall: Vec::new(),
        processor: 0.0,
    };
    let mut candidates = [
        candidate("`true`", &["true"], disk.path()),
        candidate(
            "`bwrap --unshare-all --ro-bind / / true`",
            &["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"],
            disk.path(),
        ),
        run("`tagout run -- true`", disk.path()),
        run(
            "`tagout run -- true`, its state in memory (no sync)",
            memory.path(),
        ),
    ];
    for round in 0..=ROUNDS {
        for candidate in &mut candidates {
            let before = children_time()?;
            let start = Instant::now();
            let status = Command::new(candidate.words[0])
                .args(&candidate.words[1..])
                .current_dir(&workspace)
                .env("HOME", candidate.home)
                .env("TAGOUT_HOME", candidate.home.join("state"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .with_context(|| format!("cannot start {}", candidate.name))?;
            let wall = start.elapsed();
            if !status.success() {
                bail!("{} failed: {status}", candidate.name);
            }
            // The first of all makes keys and tables.
            if round > 0 {
                candidate.wall.push(wall.as_secs_f64() * 1e3);
                let used = children_time()?.saturating_sub(before);
                candidate.processor += used.as_secs_f64() * 1e3 / f64::from(ROUNDS);
            }
        }
    }
    let walls: Vec<f64> = candidates
        .iter()
        .map(|candidate| median(candidate.wall.clone()))
        .collect();
    let anchor = walls.get(1).copied().unwrap_or(f64::NAN);
    let rows = candidates
        .iter()
        .zip(&walls)
        .map(|(candidate, wall)| {
            vec![
                candidate.name.to_owned(),
                format!("{wall:.1} ms"),
                format!("{:.1} ms", candidate.processor),
                format!("{:.1}×", wall / anchor),
            ]
        })
        .collect();
    Ok(Section {
        title: "Launch",
        about: format!(
            "{ROUNDS} rounds on {machine}. `tagout run` scans the workspace, makes a certificate \
             authority, opens gates, and has written and synced its session and the first entry of its \
             ledger before the command runs; bubblewrap does none of that. Wall is the median, \
             processor time the mean, of all processes together. The program has {megabytes:.1} MB."
        ),
        columns: vec!["command", "wall", "processor", "wall over bubblewrap"],
        rows,
    })
}
