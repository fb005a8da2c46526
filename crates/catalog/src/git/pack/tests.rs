//! Packs as the real git makes them, and as somebody would like us to read them.

use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;

fn git(folder: &Path, words: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut child = Command::new("git")
        .args(["-c", "user.name=T", "-c", "user.email=t@example.com"])
        .args(words)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{words:?}");
    output.stdout
}

/// A repository of several versions of one long file, which git stores as deltas.
fn repository(format: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    git(
        at,
        &["init", "-q", &format!("--object-format={format}")],
        b"",
    );
    std::fs::create_dir(at.join("src")).unwrap();
    for version in 0..5 {
        let mut text: String = (0..400)
            .map(|line| format!("line {line} of the file {}\n", line * 7919))
            .collect();
        text.push_str(&format!("version {version}: value-of-{version}\n"));
        std::fs::write(at.join("src/long.txt"), text).unwrap();
        git(at, &["add", "."], b"");
        git(
            at,
            &["commit", "-q", "-m", &format!("version {version}\n\nbody")],
            b"",
        );
    }
    folder
}

struct Seen {
    contents: Contents,
    found: Vec<(String, Kind)>,
    objects: usize,
}

fn look_for(
    pack: &[u8],
    digits: usize,
    needle: &str,
    base: &mut FindBase<'_>,
) -> Result<Seen, Unreadable> {
    let (mut found, mut objects) = (Vec::new(), 0);
    let contents = read(&pack, 0, digits, base, &mut |name, kind, content| {
        objects += 1;
        if content
            .windows(needle.len())
            .any(|part| part == needle.as_bytes())
        {
            found.push((name.to_owned(), kind));
        }
    })?;
    Ok(Seen {
        contents,
        found,
        objects,
    })
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap().trim().to_owned()
}

#[test]
fn every_object_is_seen_as_it_will_be() {
    for (format, digits) in [("sha1", 40), ("sha256", 64)] {
        for delta in [
            vec!["pack-objects", "--revs", "--stdout", "-q"],
            vec![
                "pack-objects",
                "--revs",
                "--stdout",
                "-q",
                "--delta-base-offset",
            ],
        ] {
            let folder = repository(format);
            let pack = git(folder.path(), &delta, b"HEAD\n");
            let seen = look_for(&pack, digits, "value-of-2", &mut |_| None).unwrap();
            // Five commits, five folders of each kind, five files.
            assert_eq!(seen.objects, 20, "{format}");
            assert_eq!(seen.found.len(), 1, "{format}");
            let (path, commit) = seen.contents.place_of(&seen.found[0].0);
            assert_eq!(path.as_deref(), Some("src/long.txt"));
            let third = text(git(folder.path(), &["rev-parse", "HEAD~2"], b""));
            assert_eq!(commit, Some(third));
            let tip = text(git(folder.path(), &["rev-parse", "HEAD"], b""));
            let (count, newest) = seen.contents.commits_to(&tip, 2);
            assert_eq!(count, 5);
            assert_eq!(newest[0], (tip, "version 4".to_owned()));
            assert_eq!(newest.len(), 2);
            assert_eq!(seen.contents.files(9), (5, vec!["src/long.txt".to_owned()]));
        }
    }
}

#[test]
fn a_thin_pack_needs_what_it_builds_on() {
    let folder = repository("sha1");
    let at = folder.path();
    let words = ["pack-objects", "--revs", "--thin", "--stdout", "-q"];
    let pack = git(at, &words, b"HEAD\n^HEAD~1\n");
    let missing = look_for(&pack, 40, "value-of-4", &mut |_| None);
    assert!(matches!(missing, Err(Unreadable::BaseMissing(_))));
    let mut base = |name: &str| {
        let kind = match text(git(at, &["cat-file", "-t", name], b"")).as_str() {
            "blob" => Kind::Blob,
            "tree" => Kind::Tree,
            _ => Kind::Commit,
        };
        let word = text(git(at, &["cat-file", "-t", name], b""));
        Some((kind, git(at, &["cat-file", &word, name], b"")))
    };
    let seen = look_for(&pack, 40, "value-of-4", &mut base).unwrap();
    assert_eq!(seen.found.len(), 1);
    assert_eq!(seen.objects, 4, "what it builds on is not of the push");
    // A base of another content is none.
    let forged = look_for(&pack, 40, "x", &mut |_| {
        Some((Kind::Blob, b"forged".to_vec()))
    });
    assert!(matches!(forged, Err(Unreadable::BaseMissing(_))));
}

/// An object's head, type and size.
fn head(kind: u8, mut size: usize) -> Vec<u8> {
    let mut octets = vec![(kind << 4) | (size & 15) as u8];
    size >>= 4;
    while size > 0 {
        *octets.last_mut().unwrap() |= 0x80;
        octets.push((size & 0x7f) as u8);
        size >>= 7;
    }
    octets
}

fn deflated(content: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn pack(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut pack = b"PACK\0\0\0\x02".to_vec();
    pack.extend_from_slice(&u32::try_from(objects.len()).unwrap().to_be_bytes());
    pack.extend(objects.concat());
    pack.extend([0; 20]);
    pack
}

#[test]
fn invariant_4_a_secret_put_together_by_a_delta_is_seen() {
    let halves = b"the-secret-|value-of-it";
    let blob = [head(3, halves.len()), deflated(halves)].concat();
    // Copies 11 octets from 0 and 11 from 12: the secret stands in no object of the pack.
    let delta = [23, 22, 0x90, 11, 0x91, 12, 11];
    let distance = u8::try_from(blob.len()).unwrap();
    let second = [head(6, delta.len()), vec![distance], deflated(&delta)].concat();
    let seen = look_for(
        &pack(&[blob.clone(), second]),
        40,
        "the-secret-value-of-it",
        &mut |_| None,
    );
    assert_eq!(seen.unwrap().found.len(), 1);
}

#[test]
fn invariant_5_what_is_not_read_to_its_end_is_not_read() {
    let blob = [head(3, 4), deflated(b"abcd")].concat();
    let whole = pack(std::slice::from_ref(&blob));
    let reads = |pack: &[u8]| look_for(pack, 40, "x", &mut |_| None).map(|seen| seen.objects);
    assert_eq!(reads(&whole), Ok(1));
    for broken in [
        whole[..whole.len() - 1].to_vec(),
        [whole.clone(), b"PACK".to_vec()].concat(),
        pack(&[[head(3, 3), deflated(b"abcd")].concat()]),
        pack(&[[head(3, 5), deflated(b"abcd")].concat()]),
        pack(&[[head(5, 4), deflated(b"abcd")].concat()]),
        pack(&[[head(0, 4), deflated(b"abcd")].concat()]),
        // A delta on itself, before the pack, on an object that is a delta of it.
        pack(&[[head(6, 4), vec![0], deflated(b"abcd")].concat()]),
        pack(&[[head(6, 4), vec![0xff, 0xff, 0x7f], deflated(b"abcd")].concat()]),
        pack(&[
            blob.clone(),
            [head(6, 4), vec![1], deflated(b"abcd")].concat(),
        ]),
        // Copies from behind the end; makes less than it says; says another size of its base.
        pack(&[
            blob.clone(),
            [
                head(6, 4),
                vec![blob.len() as u8],
                deflated(&[4, 9, 0x90, 9]),
            ]
            .concat(),
        ]),
        pack(&[
            blob.clone(),
            [
                head(6, 4),
                vec![blob.len() as u8],
                deflated(&[4, 9, 0x90, 4]),
            ]
            .concat(),
        ]),
        pack(&[
            blob.clone(),
            [
                head(6, 4),
                vec![blob.len() as u8],
                deflated(&[5, 4, 0x90, 4]),
            ]
            .concat(),
        ]),
        b"PACK\0\0\0\x02\xff\xff\xff\xff".to_vec(),
        Vec::new(),
    ] {
        assert!(reads(&broken).is_err(), "{broken:02x?}");
    }
}

#[test]
fn invariant_5_a_bomb_is_bounded() {
    let zeros = vec![0; 1 << 20];
    let claimed = [head(3, 1 << 40), deflated(&zeros)].concat();
    assert!(matches!(
        look_for(&pack(&[claimed]), 40, "x", &mut |_| None),
        Err(Unreadable::TooLarge(_))
    ));
    // Deltas that each make a MiB of a few octets, without end.
    let blob = [head(3, zeros.len()), deflated(&zeros)].concat();
    let mut delta = vec![0x80, 0x80, 0x40, 0x80, 0x80, 0x40];
    delta.extend([0x80; 16]);
    let mut objects = vec![blob.clone()];
    let mut distance = blob.len();
    for _ in 0..64 {
        let mut base = vec![(distance & 0x7f) as u8];
        let mut rest = distance >> 7;
        while rest > 0 {
            rest -= 1;
            base.insert(0, 0x80 | (rest & 0x7f) as u8);
            rest >>= 7;
        }
        let object = [head(6, delta.len()), base, deflated(&delta)].concat();
        distance += object.len();
        objects.push(object);
    }
    let read = look_for(&pack(&objects), 40, "\u{1}", &mut |_| None);
    assert!(
        matches!(read, Err(Unreadable::TooLarge(_))),
        "{:?}",
        read.map(|it| it.objects)
    );
}

proptest! {
    #[test]
    fn any_octets_are_read_or_refused(octets: Vec<u8>, count in 0_u32..4, objects: Vec<(u8, Vec<u8>)>) {
        let _ = look_for(&octets, 40, "x", &mut |_| None);
        let mut pack = b"PACK\0\0\0\x02".to_vec();
        pack.extend_from_slice(&count.to_be_bytes());
        for (kind, content) in &objects {
            pack.extend(head(kind & 7, content.len()));
            pack.extend(deflated(content));
        }
        pack.extend([0; 20]);
        let _ = look_for(&pack, 40, "x", &mut |_| Some((Kind::Blob, octets.clone())));
    }

    #[test]
    fn any_delta_is_applied_or_refused(base: Vec<u8>, delta: Vec<u8>) {
        if let (Ok(content), Ok(size)) = (apply(&base, &delta), result_size(&delta)) {
            prop_assert_eq!(content.len() as u64, size);
        }
    }
}
