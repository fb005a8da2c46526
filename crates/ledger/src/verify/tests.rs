use std::collections::BTreeSet;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::key::InstallKey;
use crate::writer::tests::sample;

fn install_key() -> InstallKey {
    InstallKey::load_or_create(tempfile::tempdir().unwrap().path()).unwrap()
}

/// Where each entry stands, with its line feed but without the checkpoint behind it.
fn entries(ledger: &[u8]) -> Vec<Range<usize>> {
    lines(ledger)
        .into_iter()
        .filter(|line| ledger[line.start] == b'{')
        .collect()
}

fn lines(ledger: &[u8]) -> Vec<Range<usize>> {
    let mut start = 0;
    ledger
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| {
            let range = start..start + line.len();
            start = range.end;
            range
        })
        .collect()
}

/// The entry that a byte belongs to; a checkpoint's bytes belong to the entry ahead of it.
fn entry_at(ledger: &[u8], position: usize) -> u64 {
    let ahead = entries(ledger)
        .iter()
        .filter(|entry| entry.start <= position)
        .count();
    ahead as u64 - 1
}

fn named(report: &Report) -> BTreeSet<u64> {
    report
        .problems
        .iter()
        .map(|problem| problem.entry)
        .collect()
}

#[test]
fn a_genuine_ledger_is_found_genuine() {
    let install = install_key();
    let ledger = sample(&install, &[1, 3, 1, 40], true);
    let known = Known {
        install_key: Some(install.public()),
        ..Known::default()
    };
    let report = verify_bytes(&ledger, &known);
    assert_eq!(report.problems, []);
    assert_eq!((report.entries, report.torn_bytes), (47, 0));
    assert!(report.finished);
    assert_eq!(
        report.checked_against,
        [
            "its own last checkpoint, of 47 entries",
            "the given install key"
        ]
    );
}

#[test]
fn l1_any_flipped_byte_is_found_and_its_entry_named() {
    let ledger = sample(&install_key(), &[1, 3], true);
    for position in 0..ledger.len() {
        for change in [1, 0x20, ledger[position] ^ b'\n'] {
            if change == 0 {
                continue;
            }
            let mut changed = ledger.clone();
            changed[position] ^= change;
            let report = verify_bytes(&changed, &Known::default());
            let entry = entry_at(&ledger, position);
            assert!(
                !report.is_genuine(),
                "byte {position} of entry {entry} ^ {change:#x}"
            );
            let near = entry.saturating_sub(1)..=entry + 1;
            assert!(
                report.problems.iter().any(|p| near.contains(&p.entry)),
                "byte {position} of entry {entry} ^ {change:#x}: {:?}",
                report.problems
            );
        }
    }
}
