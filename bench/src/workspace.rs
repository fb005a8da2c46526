//! What a mediated workspace costs: file storms, git and a build inside a session and outside of it, a launch over a large tree, and the
//! end of a session that is busy.
//!
//! The storms are this program's own, copied into the workspace: what they print is the time that they took, without that of the launch.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::Subject;
use crate::page::{Section, machine};
use crate::process::{Owned, median};

/// How often each storm blows, inside and outside in turn.
const ROUNDS: usize = 5;
/// Files of a storm, and folders in which they lie.
const FILES: usize = 10_000;
const FOLDERS: usize = 100;
/// Files of the large tree, and octets of each.
const LARGE: usize = 10_000;
const LARGE_FILE: usize = 100_000;
/// Processes of the session that is ended.
const BUSY: usize = 200;

/// The name of the copy of this program.
const STORM: &str = "storm";
const WORK: &[(&str, &str)] = &[
    ("create", "10,000 files created and written"),
    ("read", "the same looked at and read"),
    ("status", "`git status`, which sees them as one new folder"),
    ("rewrite", "the same written over"),
    ("delete", "the same deleted"),
    ("build", "`cargo build` of 200 modules"),
];

pub(crate) fn measure(subject: &Subject) -> Result<Section> {
    let machine = machine();
    let folder = tempfile::Builder::new()
        .prefix("tagout-bench-")
        .tempdir_in("/var/tmp")?;
    let (inside, outside) = (folder.path().join("inside"), folder.path().join("outside"));
    for place in [&inside, &outside] {
        prepare(place)?;
    }
    let mut times = vec![(Vec::new(), Vec::new()); WORK.len()];
    for _ in 0..ROUNDS {
        for (at, (work, _)) in WORK.iter().enumerate() {
            let storm = outside.join(STORM);
            let mut native = Command::new(&storm);
            native.args([STORM, work]).current_dir(&outside);
            times[at].1.push(milliseconds(&mut native)?);
        }
        let mut run = tagout(subject, folder.path(), &inside);
        run.args(["run", "--", "./storm", STORM])
            .args(WORK.iter().map(|(work, _)| *work));
        let printed = output(&mut run)?;
        for (at, line) in printed.lines().take(WORK.len()).enumerate() {
            times[at].0.push(line.parse()?);
        }
    }
    let mut rows: Vec<Vec<String>> = WORK
        .iter()
        .zip(times)
        .map(|((_, name), (inside, outside))| {
            let (inside, outside) = (median(inside), median(outside));
            vec![
                (*name).to_owned(),
                format!("{outside:.0} ms"),
                format!("{inside:.0} ms"),
                format!("{:.2}×", inside / outside),
            ]
        })
        .collect();
    let (first, second) = large(subject, folder.path())?;
    rows.push(vec![
        "second launch over 1 GB in 10,000 files, beside the first".to_owned(),
        format!("{first:.0} ms"),
        format!("{second:.0} ms"),
        format!("{:.2}×", second / first),
    ]);
    let ended = end_busy(subject, folder.path())?;
    rows.push(vec![
        format!("`tagout kill` of {BUSY} busy processes, until the session is over"),
        "".to_owned(),
        format!("{ended:.0} ms"),
        "".to_owned(),
    ]);
    Ok(Section {
        title: "Workspace",
        about: format!(
            "Medians of {ROUNDS} rounds on {machine}, inside and outside in turn, on the disk. Inside, every call that changes the \
             workspace is made by the mediator after what it would lose was kept; reading is native. The files are those of the \
             session itself, so that nothing has to be copied."
        ),
        columns: vec!["work", "outside", "inside", "ratio"],
        rows,
    })
}

/// Does the named work in the current folder, and prints how many milliseconds each took.
pub(crate) fn storm(works: &[&str]) -> Result<()> {
    for work in works {
        let start = Instant::now();
        match *work {
            "create" => {
                for folder in 0..FOLDERS {
                    fs::create_dir_all(format!("files/{folder}"))?;
                }
                each(|path| Ok(File::create_new(path)?.write_all(&[b'x'; 200])?))?;
            }
            "read" => each(|path| {
                let mut content = Vec::new();
                path.metadata()?;
                File::open(path)?.read_to_end(&mut content)?;
                Ok(())
            })?,
            "rewrite" => each(|path| Ok(fs::write(path, [b'y'; 200])?))?,
            "delete" => {
                each(|path| Ok(fs::remove_file(path)?))?;
                fs::remove_dir_all("files")?;
            }
            "status" => command("git", &["status", "--porcelain"])?,
            "build" => {
                command("cargo", &["build", "-q", "--offline"])?;
                fs::remove_dir_all("target")?;
            }
            other => bail!("no such work: {other}"),
        }
        println!("{:.3}", start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}

fn each(work: impl Fn(&Path) -> Result<()>) -> Result<()> {
    for number in 0..FILES {
        let path = format!("files/{}/f{number}", number % FOLDERS);
        work(path.as_ref()).with_context(|| path.clone())?;
    }
    Ok(())
}

fn command(program: &str, words: &[&str]) -> Result<()> {
    let status = Command::new(program)
        .args(words)
        .stdout(Stdio::null())
        .status()
        .with_context(|| program.to_owned())?;
    if !status.success() {
        bail!("{program} failed: {status}");
    }
    Ok(())
}

/// A folder with this program, a repository, and a crate to build.
fn prepare(place: &Path) -> Result<()> {
    fs::create_dir_all(place.join("src"))?;
    fs::copy(std::env::current_exe()?, place.join(STORM))?;
    let manifest =
        "[package]\nname = \"built\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
    fs::write(place.join("Cargo.toml"), manifest)?;
    let mut library = String::new();
    for number in 0..200 {
        library.push_str(&format!("pub mod m{number};\n"));
        let module = format!(
            "pub fn sum(of: &[u64]) -> u64 {{\n    of.iter().map(|n| n * {number}).sum()\n}}\n"
        );
        fs::write(place.join(format!("src/m{number}.rs")), module)?;
    }
    fs::write(place.join("src/lib.rs"), library)?;
    fs::write(place.join(".gitignore"), "target/\nstorm\n")?;
    let status = Command::new("git")
        .args(["init", "-q"])
        .current_dir(place)
        .status()?;
    if !status.success() {
        bail!("git init failed: {status}");
    }
    Ok(())
}

fn tagout(subject: &Subject, state: &Path, workspace: &Path) -> Command {
    let mut command = Command::new(&subject.tagout);
    command
        .current_dir(workspace)
        .env("TAGOUT_HOME", state.join("state"))
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stdout(Stdio::piped()).output()?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn milliseconds(command: &mut Command) -> Result<f64> {
    Ok(output(command)?.trim().parse()?)
}

/// Milliseconds of the first and of the second launch over a large tree.
fn large(subject: &Subject, state: &Path) -> Result<(f64, f64)> {
    let place = state.join("large");
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut content = vec![0; LARGE_FILE];
    for number in 0..LARGE {
        // Lines of text of no meaning, different in each file.
        for byte in &mut content {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            *byte = b"abcdefghijklmnopqrstuvwxyz     \n"[(seed % 32) as usize];
        }
        let folder = place.join(format!("d{}", number % FOLDERS));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("f{number}.txt")), &content)?;
    }
    // Files that changed lately are read again, whatever is remembered of them.
    std::thread::sleep(Duration::from_secs(100));
    let launch = || -> Result<f64> {
        let start = Instant::now();
        output(tagout(subject, state, &place).args(["run", "--", "true"]))?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    let first = launch()?;
    let rest = [launch()?, launch()?, launch()?];
    fs::remove_dir_all(&place)?;
    Ok((first, median(rest.to_vec())))
}

/// Milliseconds from `tagout kill` until the session of many busy processes is over.
fn end_busy(subject: &Subject, state: &Path) -> Result<f64> {
    let mut ends = Vec::new();
    for round in 0..ROUNDS {
        let place = state.join(format!("busy{round}"));
        fs::create_dir_all(&place)?;
        let line = format!(
            "trap '' TERM HUP INT; for n in $(seq {BUSY}); do (while :; do echo > f$n; rm f$n; done) & done; echo > up; wait"
        );
        let mut run = tagout(subject, state, &place);
        run.args(["run", "--", "bash", "-c", &line]);
        let mut session = Owned::start(&mut run)?;
        while !place.join("up").exists() {
            if let Some(status) = session.0.try_wait()? {
                bail!("a busy session ended: {status}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let sessions = output(tagout(subject, state, state).args(["sessions", "--json"]))?;
        let id = sessions
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find(|session| session["state"] == "running")
            .and_then(|session| session["id"].as_str().map(str::to_owned))
            .context("a session that runs")?;
        let start = Instant::now();
        output(tagout(subject, state, state).args(["kill", &id]))?;
        session.0.wait()?;
        ends.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(ends))
}
