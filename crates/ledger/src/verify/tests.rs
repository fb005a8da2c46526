//! Every way to meddle with a ledger (facts L1, L2 and L6): each must be found and name its entry, and
//! what a crash leaves must not be taken for meddling.

use std::collections::BTreeSet;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::checkpoint;
use crate::key::{InstallKey, SessionKey};
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

/// Every byte, in three ways: one bit, the other case, and into a line feed.
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
            let named = named(&verify_bytes(&changed, &Known::default()));
            let entry = entry_at(&ledger, position);
            assert!(
                named.contains(&entry),
                "byte {position} of entry {entry} ^ {change:#x}: {named:?}"
            );
        }
    }
}

#[test]
fn l1_an_unfinished_ledger_hides_no_flipped_byte_either() {
    let ledger = sample(&install_key(), &[2], false);
    for position in 0..ledger.len() {
        let mut changed = ledger.clone();
        changed[position] ^= 1;
        assert!(
            !verify_bytes(&changed, &Known::default()).is_genuine(),
            "byte {position}"
        );
    }
}

#[test]
fn l1_a_dropped_entry_is_named() {
    let ledger = sample(&install_key(), &[1, 3, 1, 2], true);
    for (number, entry) in entries(&ledger).into_iter().enumerate() {
        let mut changed = ledger.clone();
        changed.drain(entry);
        let named = named(&verify_bytes(&changed, &Known::default()));
        assert_eq!(named.first(), Some(&(number as u64)), "{named:?}");
    }
}

#[test]
fn l1_a_dropped_batch_is_named() {
    let ledger = sample(&install_key(), &[1, 3, 2], true);
    let entries = entries(&ledger);
    // With its checkpoint.
    let mut changed = ledger.clone();
    changed.drain(entries[2].start..entries[5].start);
    assert_eq!(
        named(&verify_bytes(&changed, &Known::default())).first(),
        Some(&2)
    );
    // Only its checkpoint.
    let mut changed = ledger.clone();
    changed.drain(entries[4].end..entries[5].start);
    assert!(named(&verify_bytes(&changed, &Known::default())).contains(&4));
}

#[test]
fn l1_a_duplicated_entry_is_named() {
    let ledger = sample(&install_key(), &[1, 3, 1, 2], true);
    for (number, entry) in entries(&ledger).into_iter().enumerate() {
        let mut changed = ledger[..entry.end].to_vec();
        changed.extend_from_slice(&ledger[entry.start..]);
        let named = named(&verify_bytes(&changed, &Known::default()));
        assert!(named.contains(&(number as u64)), "{number}: {named:?}");
    }
}

#[test]
fn l1_reordered_entries_are_named() {
    let ledger = sample(&install_key(), &[1, 3, 1, 2], true);
    let entries = entries(&ledger);
    for (number, pair) in entries.windows(2).enumerate() {
        let [first, second] = pair else {
            unreachable!()
        };
        let changed = [
            &ledger[..first.start],
            &ledger[second.clone()],
            &ledger[first.end..second.start],
            &ledger[first.clone()],
            &ledger[second.end..],
        ]
        .concat();
        let named = named(&verify_bytes(&changed, &Known::default()));
        assert_eq!(named.first(), Some(&(number as u64)), "{named:?}");
    }
}

/// A cut ledger is what a crash leaves, so the file alone says "unfinished"; whoever knows how far it
/// had come says which entry is missing.
#[test]
fn l1_a_cut_ledger_is_unfinished_and_the_high_water_mark_names_what_is_missing() {
    let install = install_key();
    let ledger = sample(&install, &[1, 3], true);
    let whole = verify_bytes(&ledger, &Known::default());
    let kept = Known {
        high_water: whole.mark,
        ..Known::default()
    };
    for length in 0..ledger.len() {
        let cut = &ledger[..length];
        let alone = verify_bytes(cut, &Known::default());
        assert_eq!(alone.problems, [], "cut at {length}");
        assert!(!alone.finished);
        let checkpoint = alone.mark.map_or(0, |mark| mark.entries);
        assert_eq!(alone.entries, checkpoint);
        let known = verify_bytes(cut, &kept);
        assert_eq!(
            named(&known).first(),
            Some(&alone.entries),
            "cut at {length}"
        );
    }
    assert!(verify_bytes(&ledger, &kept).is_genuine());
}

#[test]
fn entries_of_a_cut_batch_never_count() {
    let ledger = sample(&install_key(), &[3], false);
    let last = entries(&ledger).last().unwrap().end;
    let report = verify_bytes(&ledger[..last], &Known::default());
    assert_eq!((report.entries, report.problems.len()), (1, 0));
    assert_eq!(report.torn_bytes, (last - entries(&ledger)[1].start) as u64);
}

#[test]
fn l1_two_spliced_sessions_are_found() {
    let install = install_key();
    let one = sample(&install, &[1, 3, 2], true);
    let other = sample(&install, &[1, 3, 2], true);
    let (at, from) = (entries(&one), entries(&other));
    for cut in 1..at.len() {
        let spliced = [&one[..at[cut].start], &other[from[cut].start..]].concat();
        let named = named(&verify_bytes(&spliced, &Known::default()));
        let near = cut as u64 - 1..=cut as u64;
        assert!(
            named.first().is_some_and(|entry| near.contains(entry)),
            "{cut}: {named:?}"
        );
    }
}

#[test]
fn another_sessions_whole_ledger_is_not_this_sessions() {
    let ledger = sample(&install_key(), &[1], true);
    let known = Known {
        session: Some(SessionId::random().unwrap()),
        ..Known::default()
    };
    assert_eq!(named(&verify_bytes(&ledger, &known)), [0].into());
}

#[test]
fn l1_what_stands_behind_the_end_is_found() {
    let install = install_key();
    let ledger = sample(&install, &[1], true);
    let stranger = sample(&install, &[2], true);
    let size = verify_bytes(&ledger, &Known::default()).entries;
    let last = ledger.len() - 1;
    for extension in [
        b"{".as_slice(),
        b"\n",
        b"x",
        &ledger[entries(&ledger)[1].start..],
        &ledger[lines(&ledger)[lines(&ledger).len() - 5].start..],
        &stranger[entries(&stranger)[1].start..],
        &ledger[last..],
    ] {
        let extended = [&ledger, extension].concat();
        let report = verify_bytes(&extended, &Known::default());
        assert_eq!(named(&report), [size].into(), "{:?}", report.problems);
    }
}

/// Whoever rewrites an entry and every hash behind it, or adds one to a ledger that a crash left
/// open, still lacks the key.
#[test]
fn l1_a_consistent_rewrite_without_the_key_is_found_and_named() {
    let ledger = sample(&install_key(), &[1, 1, 1, 1], false);
    for victim in 1..=5 {
        let report = verify_bytes(&forge(&ledger, victim), &Known::default());
        let first = named(&report).first().copied();
        assert_eq!(first, Some(victim as u64), "{:?}", report.problems);
        // It is the signature that fails: the hashes are all right.
        assert!(
            report.problems[0]
                .what
                .contains("not what the session signed"),
            "{:?}",
            report.problems
        );
    }
}

#[test]
fn l1_a_swapped_key_is_found() {
    let ours = install_key();
    let ledger = sample(&ours, &[1], true);
    let known = Known {
        install_key: Some(ours.public()),
        ..Known::default()
    };
    assert!(verify_bytes(&ledger, &known).is_genuine());
    // Somebody else's ledger, made from scratch with keys of their own.
    let forged = sample(&install_key(), &[1], true);
    assert!(verify_bytes(&forged, &Known::default()).is_genuine());
    assert_eq!(named(&verify_bytes(&forged, &known)), [0].into());
    // The same, claiming our install key.
    let text = String::from_utf8(forged).unwrap();
    let theirs = verify_bytes(text.as_bytes(), &Known::default())
        .install_key
        .unwrap();
    let claimed = text.replace(&theirs.to_string(), &ours.public().to_string());
    let report = verify_bytes(claimed.as_bytes(), &known);
    assert_eq!(named(&report).first(), Some(&0));
}

/// L2: file and checkpoints cut back together look like a crash; a checkpoint kept elsewhere tells.
#[test]
fn l2_a_checkpoint_kept_elsewhere_finds_a_ledger_cut_back() {
    let install = install_key();
    let ledger = sample(&install, &[1, 2, 1], true);
    let all = lines(&ledger);
    let last = &ledger[all[all.len() - 5].start..];
    let kept = |text: &[u8]| Known {
        checkpoint: Some(String::from_utf8(text.to_vec()).unwrap()),
        ..Known::default()
    };
    let report = verify_bytes(&ledger, &kept(last));
    assert_eq!(report.problems, []);
    assert!(
        report
            .checked_against
            .contains(&"the given checkpoint, of 6 entries".to_owned())
    );
    let cut = &ledger[..entries(&ledger)[4].start];
    assert!(verify_bytes(cut, &Known::default()).is_genuine());
    assert_eq!(named(&verify_bytes(cut, &kept(last))), [4].into());
    // Another session's checkpoint is none of this ledger's.
    let other = sample(&install, &[1, 2, 1], true);
    let all = lines(&other);
    let foreign = &other[all[all.len() - 5].start..];
    assert_eq!(named(&verify_bytes(&ledger, &kept(foreign))), [0].into());
}

#[test]
fn a_high_water_mark_of_another_history_is_found() {
    let install = install_key();
    let ledger = sample(&install, &[1, 2], true);
    for entries in [1, 3, 5] {
        let known = Known {
            high_water: Some(Mark {
                entries,
                root: Digest::of(b"another history"),
            }),
            ..Known::default()
        };
        assert_eq!(named(&verify_bytes(&ledger, &known)), [entries - 1].into());
    }
}

#[test]
fn a_file_and_its_bytes_give_one_report() {
    let ledger = sample(&install_key(), &[1, 2], true);
    let mut changed = ledger.clone();
    changed[entries(&ledger)[2].start + 10] ^= 1;
    for bytes in [ledger, changed] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let from_file = verify(file.path(), &Known::default()).unwrap();
        let from_bytes = verify_bytes(&bytes, &Known::default());
        assert_eq!(from_file.problems, from_bytes.problems);
        assert_eq!(from_file.entries, from_bytes.entries);
    }
    assert!(verify(Path::new("/nonexistent/x.ledger"), &Known::default()).is_err());
}

#[test]
fn what_is_no_ledger_is_told_from_one() {
    let long = [b"{".as_slice(), &[b'x'; 100_000]].concat();
    for bytes in [b"\n".as_slice(), b"{}\n", b"hello\nworld\n", &long] {
        let report = verify_bytes(bytes, &Known::default());
        assert_eq!(named(&report), [0].into());
    }
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = verify_bytes(&bytes, &Known::default());
    }

    /// Lines of a ledger in any other order, number or company are not that ledger.
    #[test]
    fn other_lines_are_another_ledger(
        picks in proptest::collection::vec(0usize..40, 0..40),
        keep in 0usize..40,
    ) {
        let ledger = LEDGER.with(Clone::clone);
        let lines = lines(&ledger);
        let mut changed: Vec<u8> = ledger[..lines[keep.min(lines.len() - 1)].start].to_vec();
        for pick in picks {
            changed.extend_from_slice(&ledger[lines[pick % lines.len()].clone()]);
        }
        let report = verify_bytes(&changed, &Known::default());
        // What it still takes for genuine is a true beginning of the ledger.
        if report.is_genuine() {
            let counted = entries(&ledger)
                .get(report.entries as usize)
                .map_or(ledger.len(), |next| next.start);
            prop_assert!(changed.starts_with(&ledger[..counted]));
        }
    }
}

thread_local! {
    static LEDGER: Vec<u8> = sample(&install_key(), &[1, 3, 2], true);
}

/// What a forger without the session key makes of an unfinished ledger whose batches hold one entry
/// each: entry `victim` says something else (or is new, behind the last), and every link, root and
/// checkpoint from there on is computed anew, under signatures by a key of the forger's own.
fn forge(ledger: &[u8], victim: usize) -> Vec<u8> {
    let session = verify_bytes(ledger, &Known::default()).session.unwrap();
    let origin = checkpoint::origin(&session);
    let key = SessionKey::generate().unwrap();
    let mut ranges = entries(ledger);
    ranges.push(ranges.last().unwrap().clone());
    let mut tree = Tree::default();
    let mut forged = ledger[..ranges[victim].start].to_vec();
    if victim == ranges.len() - 1 {
        forged = ledger.to_vec();
    }
    let mut links = Vec::new();
    for (number, range) in ranges.iter().enumerate() {
        let mut line = ledger[range.start..range.end - 1].to_vec();
        if number < victim {
            let next = ranges[number + 1].start.max(range.end);
            let behind = if number + 2 == ranges.len() {
                ledger.len()
            } else {
                next
            };
            links.push((leaf(&line), Digest::of(&ledger[range.end..behind])));
            tree.push(leaf(&line));
            continue;
        }
        if number == ranges.len() - 1 && victim < number {
            break;
        }
        let mut entry: serde_json::Value = serde_json::from_slice(&line).unwrap();
        let (prev, checkpoint) = links.last().unwrap();
        entry["seq"] = number.into();
        entry["prev"] = prev.to_string().into();
        entry["checkpoint"] = checkpoint.to_string().into();
        if number == victim {
            entry["host"] = "forged".into();
        }
        line = tagout_core::json::canonical(&entry).into_bytes();
        tree.push(leaf(&line));
        let mark = Mark {
            entries: tree.size(),
            root: tree.root(),
        };
        let signed = checkpoint::write(&origin, mark, &key);
        links.push((leaf(&line), Digest::of(signed.as_bytes())));
        forged.extend_from_slice(&line);
        forged.push(b'\n');
        forged.extend_from_slice(signed.as_bytes());
    }
    forged
}

/// A later format is not called meddling, and not genuine either: whoever writes another number into a
/// ledger of this format gets no further.
#[test]
fn a_later_format_is_named_and_not_believed() {
    let ledger = String::from_utf8(sample(&install_key(), &[1, 3], true)).unwrap();
    let later = ledger.replacen("\"format\":1,", "\"format\":2,", 1);
    assert_ne!(later, ledger);
    let report = verify_bytes(later.as_bytes(), &Known::default());
    assert!(!report.is_genuine());
    let said = report.problems[0].to_string();
    assert!(said.starts_with("entry 0 has format 2"), "{said}");
    let earlier = ledger.replacen("\"format\":1,", "\"format\":0,", 1);
    let report = verify_bytes(earlier.as_bytes(), &Known::default());
    assert!(report.problems[0].what.contains("was changed"));
}

#[test]
fn the_first_slices_ledgers_are_genuine() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/state-1/home");
    // Its key is nobody else's to read, which a checkout does not keep.
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("keys/install.ed25519");
    std::fs::create_dir(home.path().join("keys")).unwrap();
    std::fs::copy(folder.join("keys/install.ed25519"), &key).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let known = Known {
        install_key: InstallKey::load(home.path())
            .unwrap()
            .map(|key| key.public()),
        ..Known::default()
    };
    assert!(known.install_key.is_some());
    let ledgers: Vec<_> = std::fs::read_dir(folder.join("ledgers"))
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(ledgers.len(), 4);
    for ledger in ledgers {
        let report = verify(&ledger.path(), &known).unwrap();
        assert_eq!(report.problems, [], "{}", ledger.path().display());
        assert_eq!(report.torn_bytes, 0);
    }
}
