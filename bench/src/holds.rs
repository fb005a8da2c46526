//! A thousand requests that wait for a person in one session, and many sessions on one machine. A
//! session has at most twenty different holds; what repeats one joins it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::Subject;
use crate::page::{Section, machine};
use crate::process::{processor_time, resident, threads};
use crate::session::{Generator, HOST, Home, Place};

/// Requests that are held.
const HELD: usize = 1_000;
/// Holds behind them: as many as a session may have.
const DIFFERENT: usize = 20;
/// How long they wait while memory is looked at.
const WAIT: Duration = Duration::from_secs(20);
/// Sessions at once.
const SESSIONS: usize = 50;

const MANIFEST: &str = "[task]\nname = \"bench\"\n\n[[host]]\nname = \"bench.example.com\"\nmethods = [\"GET\", \"DELETE\"]\n";

pub(crate) fn measure(subject: &Subject) -> Result<Section> {
    let machine = machine();
    let place = Place::new()?;
    let home = place.home("holds", MANIFEST)?;
    home.trust(&subject.tagout)?;
    let mut rows = held(subject, &home)?;
    rows.push(sessions(subject, &place)?);
    Ok(Section {
        title: "Holds and sessions",
        about: format!(
            "On {machine}. {HELD} requests of one session are held behind {DIFFERENT} holds, each on a \
             connection of its own; then every hold is answered with `tagout approve`. Memory, threads \
             and processor time are the supervisor's."
        ),
        columns: vec!["what", "memory", "threads", "processor", "outcome"],
        rows,
    })
}

fn held(subject: &Subject, home: &Home) -> Result<Vec<Vec<String>>> {
    let mut command = home.command(&subject.tagout);
    command
        .args(["run", "--hold-wait", "600", "--", "./tagout-bench", "hold"])
        .args(["/etc/ssl/certs/ca-certificates.crt", HOST, "443"])
        .args([HELD.to_string(), DIFFERENT.to_string()]);
    let mut generator = Generator::start(&mut command)?;
    let supervisor = generator.id();
    let waiting = eventually(|| {
        let ids = pending(subject, home)?;
        Ok((ids.len() == DIFFERENT).then_some(ids))
    })?;
    let first = (resident(supervisor)?, processor_time(supervisor)?);
    std::thread::sleep(WAIT);
    let last = (resident(supervisor)?, processor_time(supervisor)?);
    let count = threads(supervisor)?;
    let start = Instant::now();
    for id in &waiting {
        let approved = home
            .command(&subject.tagout)
            .args(["approve", id, "--yes"])
            .stdin(Stdio::null())
            .output()?;
        ensure!(
            approved.status.success(),
            "approve: {}",
            String::from_utf8_lossy(&approved.stderr)
        );
    }
    let figures = generator.measured()?;
    let all = start.elapsed();
    let counted = |name: &str| figures[name].as_u64().unwrap_or(0);
    let (allowed, refused) = (counted("allowed"), counted("refused"));
    ensure!(
        allowed == DIFFERENT as u64 && allowed + refused == HELD as u64,
        "of {HELD} requests {allowed} were released and {refused} refused"
    );
    let used = last.1.saturating_sub(first.1).as_secs_f64() / WAIT.as_secs_f64();
    Ok(vec![
        vec![
            format!("{HELD} held, at once"),
            format!("{:.0} MB", first.0),
            count.to_string(),
            "—".to_owned(),
            "—".to_owned(),
        ],
        vec![
            format!("{HELD} held, after {} s", WAIT.as_secs()),
            format!("{:.0} MB", last.0),
            count.to_string(),
            format!("{:.1} % of one", used * 100.0),
            format!(
                "{allowed} released, each approval once; {refused} repeats told so; all within {:.1} s",
                all.as_secs_f64()
            ),
        ],
    ])
}

fn pending(subject: &Subject, home: &Home) -> Result<Vec<String>> {
    let listed = home
        .command(&subject.tagout)
        .args(["holds", "--json"])
        .stdin(Stdio::null())
        .output()?;
    Ok(String::from_utf8_lossy(&listed.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|hold| hold["state"] == "pending")
        .filter_map(|hold| hold["id"].as_str().map(str::to_owned))
        .collect())
}

/// Many sessions, each with a workspace of its own, that do nothing.
fn sessions(subject: &Subject, place: &Place) -> Result<Vec<String>> {
    let home = place.home("many", MANIFEST)?;
    let mut running = Vec::new();
    let start = Instant::now();
    for number in 0..SESSIONS {
        let workspace = home.home.join(format!("work-{number}"));
        std::fs::create_dir_all(&workspace)?;
        let mut command: Command = home.command(&subject.tagout);
        command
            .current_dir(&workspace)
            // `read` ends with its input.
            .args(["run", "--", "sh", "-c", "echo ready; read end; true"])
            .stderr(Stdio::null());
        running.push(Generator::start(&mut command).with_context(|| format!("session {number}"))?);
    }
    let started = start.elapsed();
    let (mut memory, mut count) = (0.0, 0);
    let mut before = Duration::ZERO;
    for session in &running {
        memory += resident(session.id())?;
        count += threads(session.id())?;
        before += processor_time(session.id())?;
    }
    std::thread::sleep(WAIT / 2);
    let mut after = Duration::ZERO;
    for session in &running {
        after += processor_time(session.id())?;
    }
    drop(running);
    let used = after.saturating_sub(before).as_secs_f64() / (WAIT / 2).as_secs_f64();
    Ok(vec![
        format!("{SESSIONS} sessions, idle"),
        format!("{memory:.0} MB, {:.0} each", memory / SESSIONS as f64),
        count.to_string(),
        format!("{:.1} % of one", used * 100.0),
        format!(
            "started one after the other in {:.1} s",
            started.as_secs_f64()
        ),
    ])
}

/// Asks until there is an answer.
fn eventually<T>(mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    for _ in 0..300 {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    bail!("it did not happen within a minute")
}
