//! Measures Tagout beside what else does the same work, in the same run on the same machine, and
//! writes the figures as a page. `cargo xtask bench` builds and starts it.
//!
//! Runs go through all subjects in turn, so that a busy moment of the machine falls on all alike;
//! what is quoted are medians, processor time and ratios. A timing is never a pass or fail.

mod anchors;
mod certificate;
mod database;
mod holds;
mod http;
mod judge;
mod launch;
mod ledger;
mod load;
mod page;
mod process;
mod session;
mod workspace;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::page::Section;

const USAGE: &str = "\
usage: tagout-bench measure TAGOUT PAGE ANCHORS [launch|judge|ledger|http|holds|database|workspace ...]
       tagout-bench load CA HOST PORT CONNECTIONS SECONDS RATE h1|h2 [PROXY]
       tagout-bench hold CA HOST PORT CONNECTIONS DIFFERENT
       tagout-bench relay FROM-PORT TO-PORT
       tagout-bench storm WORK ...";

/// Measures one area.
type Measure = fn(&Subject) -> Result<Section>;

/// What is measured, in the order of the page.
const AREAS: &[(&str, Measure)] = &[
    ("launch", launch::measure),
    ("judge", judge::measure),
    ("ledger", ledger::measure),
    ("http", http::measure),
    ("holds", holds::measure),
    ("database", database::measure),
    ("workspace", workspace::measure),
];

/// What is measured with.
pub(crate) struct Subject {
    /// The `tagout` program.
    pub(crate) tagout: PathBuf,
    /// A folder with the anchors that are built for this: `hudsucker-pass-through`, `mitmdump`. What
    /// is not there is left out.
    pub(crate) anchors: PathBuf,
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["storm", works @ ..] => workspace::storm(works),
        ["measure", tagout, page, anchors, areas @ ..] => {
            let subject = Subject {
                tagout: tagout.into(),
                anchors: anchors.into(),
            };
            measure(&subject, page.as_ref(), areas)
        }
        [
            "load",
            ca,
            host,
            port,
            connections,
            seconds,
            rate,
            protocol,
            proxy @ ..,
        ] => load::run(&load::Plan {
            ca: ca.into(),
            host: (*host).to_owned(),
            port: port.parse().context("PORT")?,
            connections: connections.parse().context("CONNECTIONS")?,
            seconds: seconds.parse().context("SECONDS")?,
            rate: rate.parse().context("RATE")?,
            http2: *protocol == "h2",
            proxy: proxy.first().map(|proxy| (*proxy).to_owned()),
        }),
        ["hold", ca, host, port, connections, different] => load::hold(
            &load::Plan {
                ca: ca.into(),
                host: (*host).to_owned(),
                port: port.parse().context("PORT")?,
                connections: connections.parse().context("CONNECTIONS")?,
                seconds: 0,
                rate: 0,
                http2: false,
                proxy: None,
            },
            different.parse().context("DIFFERENT")?,
        ),
        ["relay", from, to] => database::relay(
            from.parse().context("FROM-PORT")?,
            to.parse().context("TO-PORT")?,
        ),
        _ => bail!("{USAGE}"),
    }
}

fn measure(subject: &Subject, path: &std::path::Path, wanted: &[&str]) -> Result<()> {
    if let Some(unknown) = wanted
        .iter()
        .find(|wanted| !AREAS.iter().any(|(name, _)| name == *wanted))
    {
        bail!("there is no area `{unknown}`\n{USAGE}");
    }
    let mut sections = Vec::new();
    for (name, area) in AREAS {
        if wanted.is_empty() || wanted.contains(name) {
            eprintln!("bench: {name}");
            sections.push(area(subject).with_context(|| format!("measuring {name}"))?);
        }
    }
    page::write(path, sections)
}
