//! `cargo xtask bench`: figures beside their anchors, measured in the same run, as ratios.
//!
//! A timing is never a pass or fail: it is printed and written to `docs/benchmarks.md` for people.

use crate::run::{cargo, root, succeed, target};
use crate::tools;
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often each command runs. Rounds go through all commands in turn, so that a busy moment of the
/// machine falls on all of them alike.
const ROUNDS: u32 = 40;

/// One command's figures.
struct Figure {
    name: &'static str,
    /// The median.
    wall: Duration,
    /// The mean, of the command and everything that it started and waited for.
    cpu: Duration,
}

/// Measures what a launch costs: the bare command, bubblewrap, and `tagout run`.
pub(crate) fn bench() -> Result<()> {
    tools::install_debian_packages(tools::BENCH_PACKAGES)?;
    succeed(cargo().args(["build", "--release", "--locked", "--package", "tagout"]))?;

    let folder = std::env::temp_dir().join(format!("tagout-bench-{}", std::process::id()));
    let workspace = folder.join("work");
    std::fs::create_dir_all(&workspace).context("cannot make a workspace")?;
    let figures = launches(&folder, &workspace);
    // A folder that cannot be removed spoils no figure.
    let _ = std::fs::remove_dir_all(&folder);

    let text = page(&figures?);
    print!("{text}");
    std::fs::write(root().join("docs/benchmarks.md"), text).context("docs/benchmarks.md")
}

fn launches(home: &Path, workspace: &Path) -> Result<Vec<Figure>> {
    let tagout = target().join("release/tagout");
    let commands: [(&'static str, Vec<&str>); 3] = [
        ("`true`", vec!["true"]),
        (
            "`bwrap --unshare-all --ro-bind / / true`",
            vec!["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"],
        ),
        (
            "`tagout run -- true`",
            vec![
                tagout.to_str().context("a target folder in UTF-8")?,
                "run",
                "--",
                "true",
            ],
        ),
    ];
    let mut walls = vec![Vec::new(); commands.len()];
    let mut cpus = vec![Duration::ZERO; commands.len()];
    for _ in 0..ROUNDS {
        for (place, (name, words)) in commands.iter().enumerate() {
            let cpu = children_cpu()?;
            let start = Instant::now();
            let status = Command::new(words[0])
                .args(&words[1..])
                .current_dir(workspace)
                .env("HOME", home)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .with_context(|| format!("cannot start {name}"))?;
            if !status.success() {
                bail!("{name} failed: {status}");
            }
            walls[place].push(start.elapsed());
            cpus[place] += children_cpu()?.saturating_sub(cpu);
        }
    }
    Ok(commands
        .into_iter()
        .zip(walls.into_iter().zip(cpus))
        .map(|((name, _), (mut wall, cpu))| {
            wall.sort();
            Figure {
                name,
                wall: wall[wall.len() / 2],
                cpu: cpu / ROUNDS,
            }
        })
        .collect())
}

/// The processor time of all children that ended so far. The kernel counts it in ticks of 10 ms, which
/// over many rounds is fine enough for a mean.
fn children_cpu() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("/proc is mounted")?;
    // The fields behind the program's name, which alone may hold spaces: cutime and cstime are the
    // fourteenth and fifteenth of them (proc(5) counts from the first field, the process id).
    let fields: Vec<&str> = stat
        .rsplit_once(") ")
        .map(|(_, fields)| fields.split(' ').collect())
        .unwrap_or_default();
    let ticks: u64 = fields
        .get(13..15)
        .context("/proc/self/stat has its fields")?
        .iter()
        .map(|field| field.parse::<u64>())
        .sum::<Result<u64, _>>()
        .context("/proc/self/stat has numbers")?;
    Ok(Duration::from_millis(ticks * 10))
}

fn page(figures: &[Figure]) -> String {
    let bubblewrap = figures.iter().find(|figure| figure.name.contains("bwrap"));
    let mut text = String::from(
        "# Benchmarks\n\n\
         Written by `cargo xtask bench`. Every figure stands beside its anchor, measured in the same run on\n\
         the same machine; the ratio says more than the number.\n\n\
         ## Launch\n\n\
         | command | wall, median | processor, mean | wall over bubblewrap |\n|---|---|---|---|\n",
    );
    for figure in figures {
        let ratio = bubblewrap.map_or(0.0, |anchor| {
            figure.wall.as_secs_f64() / anchor.wall.as_secs_f64()
        });
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "| {} | {:.1} ms | {:.1} ms | {ratio:.1}× |",
            figure.name,
            figure.wall.as_secs_f64() * 1e3,
            figure.cpu.as_secs_f64() * 1e3,
        );
    }
    text
}
