//! What a launch costs: the bare command, bubblewrap, and `tagout run`, with its state on the disk and
//! with its state in memory, where a sync costs nothing. Started by root, it measures an ordinary user as
//! well, for whom a launch is another one: no file system is mapped, and namespaces are made ahead.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::Subject;
use crate::page::{Section, machine};
use crate::process::{children_time, median};

/// How often each command runs. Rounds go through all commands in turn.
const ROUNDS: u32 = 40;

/// A user who has no account and owns nothing else.
const ORDINARY: u32 = 60_123;

/// One command and where it keeps its state.
struct Candidate<'a> {
    name: &'static str,
    words: Vec<&'a str>,
    home: &'a Path,
    workspace: &'a Path,
    /// Who runs it, where that is not who measures.
    user: Option<u32>,
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
    let theirs = tempfile::Builder::new()
        .prefix("tagout-bench-")
        .tempdir_in("/var/tmp")?;
    let their_workspace = theirs.path().join("work");
    std::fs::create_dir_all(&their_workspace)?;
    let candidate = |name, words: &[&'static str], home| Candidate {
        name,
        words: words.to_vec(),
        home,
        workspace: &workspace,
        user: None,
        wall: Vec::new(),
        processor: 0.0,
    };
    let run = |name, home| Candidate {
        words: vec![tagout, "run", "--", "true"],
        ..candidate(name, &[], home)
    };
    let bubblewrap = &["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"];
    let mut candidates = vec![
        candidate("`true`", &["true"], disk.path()),
        candidate(
            "`bwrap --unshare-all --ro-bind / / true`",
            bubblewrap,
            disk.path(),
        ),
        run("`tagout run -- true`", disk.path()),
        run(
            "`tagout run -- true`, its state in memory (no sync)",
            memory.path(),
        ),
    ];
    if std::fs::metadata("/proc/self")?.uid() == 0 {
        for folder in [theirs.path(), &their_workspace] {
            std::os::unix::fs::chown(folder, Some(ORDINARY), Some(ORDINARY))?;
        }
        let as_ordinary = |candidate| Candidate {
            workspace: &their_workspace,
            user: Some(ORDINARY),
            ..candidate
        };
        candidates.push(as_ordinary(candidate(
            "an ordinary user's `bwrap`, the same",
            bubblewrap,
            theirs.path(),
        )));
        candidates.push(as_ordinary(run(
            "an ordinary user's `tagout run -- true`",
            theirs.path(),
        )));
    }
    for round in 0..=ROUNDS {
        for candidate in &mut candidates {
            let before = children_time()?;
            let start = Instant::now();
            let mut command = Command::new(candidate.words[0]);
            if let Some(user) = candidate.user {
                command.uid(user).gid(user);
            }
            let status = command
                .args(&candidate.words[1..])
                .current_dir(candidate.workspace)
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
    // Each over bubblewrap of the same user.
    let anchor = |of: &Candidate<'_>| {
        let mut all = candidates.iter().zip(&walls);
        let same = all.find(|(one, _)| one.user == of.user && one.words.first() == Some(&"bwrap"));
        same.map_or(f64::NAN, |(_, wall)| *wall)
    };
    let rows = candidates
        .iter()
        .zip(&walls)
        .map(|(candidate, wall)| {
            vec![
                candidate.name.to_owned(),
                format!("{wall:.1} ms"),
                format!("{:.1} ms", candidate.processor),
                format!("{:.1}×", wall / anchor(candidate)),
            ]
        })
        .collect();
    Ok(Section {
        title: "Launch",
        about: format!(
            "{ROUNDS} rounds on {machine}. `tagout run` scans the workspace, makes a certificate \
             authority, opens gates, and has written and synced its session and the first entry of its \
             ledger before the command runs; bubblewrap does none of that. Wall is the median, \
             processor time the mean, of all processes together. Wall beyond that is waiting for the \
             kernel: for the disk, for grace periods on all processors when a process joins a control \
             group (where it cannot be born there) and when the watch over guarded paths is closed at \
             the end, after the report. Processor time goes to the supervisor, to namespaces and \
             mounts, and to page faults and relocations of a program of {megabytes:.1} MB, in about \
             equal parts."
        ),
        columns: vec!["command", "wall", "processor", "wall over bubblewrap"],
        rows,
    })
}
