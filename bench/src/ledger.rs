//! What an entry costs, durable and signed for, while the ledger grows: by itself, and with many
//! writers that share a sync. The anchor is the disk's own sync of as many octets.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Instant;

use anyhow::Result;
use serde_json::json;
use tagout_core::SessionId;
use tagout_ledger::{InstallKey, Ledger, ledger_path};

use crate::Subject;
use crate::page::{Section, machine};
use crate::process::{median, processor_time};

const ALONE: usize = 200;
/// Entries in the ledger before each measurement.
const LENGTHS: &[usize] = &[1_000, 10_000, 100_000, 1_000_000];
const TOGETHER: usize = 20_000;

pub(crate) fn measure(_: &Subject) -> Result<Section> {
    let machine = machine();
    let home = tempfile::Builder::new()
        .prefix("tagout-bench-")
        .tempdir_in("/var/tmp")?;
    let session = SessionId::random().map_err(|error| anyhow::anyhow!("an id: {error}"))?;
    let install = InstallKey::load_or_create(home.path())?;
    let ledger = Ledger::create(home.path(), &session, &install, json!({}), |_| ())?;
    let disk = syncs(&home.path().join("anchor"))?;
    let alone = appends(&ledger)?;
    let mut rows = vec![
        row("the disk: 600 octets and a sync", disk, f64::NAN, 1.0),
        row("one entry, waited for", alone, f64::NAN, alone / disk),
    ];
    let mut length = 1 + ALONE;
    for before in LENGTHS {
        let (wall, _) = fill(&ledger, before.saturating_sub(length))?;
        let _ = wall;
        length = (*before).max(length);
        let (wall, processor) = fill(&ledger, TOGETHER)?;
        length += TOGETHER;
        rows.push(row(
            &format!("an entry of {TOGETHER} at once, behind {before}"),
            wall,
            processor,
            wall / disk,
        ));
    }
    ledger.finish(json!({})).wait()?;
    let file = ledger_path(home.path(), &session);
    let start = Instant::now();
    let report = tagout_ledger::verify(&file, &tagout_ledger::Known::default())?;
    let per_entry = start.elapsed().as_secs_f64() * 1e6 / length as f64;
    anyhow::ensure!(report.is_genuine(), "{:?}", report);
    rows.push(row(
        &format!("verifying, an entry of {length}"),
        per_entry,
        f64::NAN,
        f64::NAN,
    ));
    Ok(Section {
        title: "Ledger",
        about: format!(
            "On {machine}. An entry is written, hashed into the tree, covered by a signed checkpoint and \
             synced before anyone learns its number; those that wait together share one sync."
        ),
        columns: vec!["what", "wall", "processor", "over a sync"],
        rows,
    })
}

fn row(what: &str, wall: f64, processor: f64, ratio: f64) -> Vec<String> {
    let shown = |value: f64, text: String| {
        if value.is_nan() {
            "—".to_owned()
        } else {
            text
        }
    };
    vec![
        what.to_owned(),
        format!("{wall:.1} µs"),
        shown(processor, format!("{processor:.1} µs")),
        shown(ratio, format!("{ratio:.3}×")),
    ]
}

fn syncs(path: &std::path::Path) -> Result<f64> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut walls = Vec::new();
    for _ in 0..ALONE {
        let start = Instant::now();
        file.write_all(&[b'x'; 600])?;
        file.sync_data()?;
        walls.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(walls))
}

fn fields(number: usize) -> serde_json::Value {
    json!({
        "verdict": "allow",
        "operations": [{"name": "http.GET", "effect": "read", "flags": [], "resources": []}],
        "host": "api.example.com",
        "port": 443,
        "path": format!("/v1/items/{number}"),
    })
}

fn appends(ledger: &Ledger) -> Result<f64> {
    let mut walls = Vec::new();
    for number in 0..ALONE {
        let start = Instant::now();
        ledger.append("intent", fields(number)).wait()?;
        walls.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(walls))
}

/// Appends so many at once; wall and processor time of each, in µs.
fn fill(ledger: &Ledger, count: usize) -> Result<(f64, f64)> {
    let before = processor_time(std::process::id())?;
    let start = Instant::now();
    // Bounded, so that a million of them do not wait in memory.
    for chunk in (0..count).collect::<Vec<_>>().chunks(TOGETHER) {
        let receipts: Vec<_> = chunk
            .iter()
            .map(|number| ledger.append("intent", fields(*number)))
            .collect();
        for receipt in receipts {
            receipt.wait()?;
        }
    }
    let wall = start.elapsed().as_secs_f64() * 1e6 / count.max(1) as f64;
    let used = processor_time(std::process::id())?.saturating_sub(before);
    Ok((wall, used.as_secs_f64() * 1e6 / count.max(1) as f64))
}
