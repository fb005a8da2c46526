//! What pushes mean, and what an attacker would like them to mean.

use proptest::prelude::*;
use tagout_core::{CanonicalPath, CanonicalQuery, HostName, HttpBody, Target, Transport};

use super::*;

const OLD: &str = "1111111111111111111111111111111111111111";
const NEW: &str = "2222222222222222222222222222222222222222";
const NONE: &str = "0000000000000000000000000000000000000000";

fn request(method: &str, target: &str, body: &[u8]) -> HttpRequest {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let service = path.rsplit('/').next().unwrap();
    HttpRequest {
        target: Target {
            transport: Transport::Tls,
            host: HostName::parse("git.example").unwrap(),
            port: 443,
        },
        method: Method::parse(method).unwrap(),
        path: CanonicalPath::parse(path).unwrap(),
        query: CanonicalQuery::parse(query).unwrap(),
        headers: vec![(
            "content-type".to_owned(),
            format!("application/x-{service}-request"),
        )],
        body: match body {
            [] => HttpBody::Empty,
            body => HttpBody::Whole(body.to_vec()),
        },
    }
}

fn line(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}

fn push(content: &str) -> Result<Vec<(String, Effect, String)>, String> {
    let request = request("POST", "/a/b.git/git-receive-pack", content.as_bytes());
    let meaning = crate::recognise(&request).map_err(|error| error.reason)?;
    Ok(meaning
        .operations
        .into_iter()
        .map(|it| {
            let resource = it.resources[0].to_string();
            (it.name.to_string(), it.effect, resource)
        })
        .collect())
}

#[test]
fn each_command_is_an_operation() {
    let commands = [
        line(&format!(
            "{OLD} {NEW} refs/heads/main\0 report-status atomic"
        )),
        line(&format!("{NONE} {NEW} refs/heads/new")),
        line(&format!("{OLD} {NONE} refs/tags/v1\n")),
    ];
    let content = format!("{}0000PACKrest", commands.concat());
    let place = "git:ref/git.example/a/b.git:refs";
    assert_eq!(
        push(&content).unwrap(),
        [
            (
                "git.push_force".into(),
                Effect::Destructive,
                format!("{place}/heads/main")
            ),
            (
                "git.create_ref".into(),
                Effect::Write,
                format!("{place}/heads/new")
            ),
            (
                "git.delete_ref".into(),
                Effect::Destructive,
                format!("{place}/tags/v1")
            ),
        ]
    );
    assert_eq!(push("0000").unwrap()[0].0, "git.discover");
}

#[test]
fn sha256_shallow_and_options_are_read() {
    let (old, new) = ("3".repeat(64), "4".repeat(64));
    let shallow = line(&format!("shallow {old}"));
    let command = line(&format!(
        "{old} {new} refs/heads/a\0 push-options object-format=sha256"
    ));
    let content = format!("{shallow}{command}0000{}0000PACK", line("ci.skip"));
    let request = request("POST", "/a/git-receive-pack", content.as_bytes());
    let meaning = crate::recognise(&request).unwrap();
    assert!(Pushed::of(&meaning.operations[0]).unwrap().has_options);
}

#[test]
fn invariant_5_a_push_that_could_be_read_otherwise_is_refused() {
    let good = format!("{OLD} {NEW} refs/heads/main");
    let with = |line: &str| format!("{}0000PACK", self::line(line));
    assert!(push(&with(&format!("{good}\0 atomic"))).is_ok());
    let second = line(&format!("{OLD} {NONE} refs/heads/other"));
    for (what, content) in [
        ("nothing", String::new()),
        (
            "a second list behind the flush",
            format!("{}0000{second}0000PACK", line(&good)),
        ),
        (
            "a delimiter for a flush",
            format!("{}0001PACK", line(&good)),
        ),
        (
            "an empty packet",
            format!("{}0004{second}0000PACK", line(&good)),
        ),
        ("a length in capitals", format!("003F{good}0000PACK")),
        ("a length beyond the end", format!("ffff{good}")),
        ("no flush", line(&good)),
        ("the same ref twice", format!("{0}{0}0000PACK", line(&good))),
        (
            "capabilities in the second line",
            format!(
                "{}{}0000PACK",
                line(&good),
                line(&format!("{NONE} {NEW} refs/heads/x\0a\0b"))
            ),
        ),
        ("a ref outside refs/", with(&format!("{OLD} {NEW} HEAD"))),
        (
            "a ref with a line feed",
            with(&format!("{OLD} {NEW} refs/heads/a\nb")),
        ),
        (
            "capital digits",
            with(&format!("{} {NEW} refs/heads/a", "A".repeat(40))),
        ),
        (
            "two kinds of ids",
            with(&format!("{OLD} {} refs/heads/a", "4".repeat(64))),
        ),
        ("a certificate", with(&format!("{good}\0push-cert=1"))),
        ("a pack behind deletions", format!("{second}0000PACK")),
    ] {
        assert!(push(&content).is_err(), "{what}: {content:?}");
    }
}

#[test]
fn invariant_5_a_service_is_recognised_however_its_path_is_written() {
    for target in [
        "/a/b/git-receive-pack/",
        "/a/b%2Fgit-receive-pack",
        "/a/b/git-receive-pack;x",
        "/a/b/Git-Receive-Pack",
        "/a/b/git-receive-pack?x=1",
    ] {
        let request = request("POST", target, b"0000");
        assert!(is_push(&request), "{target}");
        let meaning = crate::recognise(&request);
        let read = meaning.is_ok_and(|it| it.operations[0].name.as_str() != "git.discover");
        assert!(!read, "{target}");
    }
    let twice = "/a/info/refs?service=git-upload-pack&service=git-receive-pack";
    assert!(crate::recognise(&request("GET", twice, b"")).is_err());
    let discovered = crate::recognise(&request(
        "GET",
        "/a/info/refs?service=git-receive-pack",
        b"",
    ));
    assert_eq!(
        discovered.unwrap().operations[0].name.as_str(),
        "git.discover"
    );
    let dumb = crate::recognise(&request("GET", "/a/info/refs", b""));
    assert_eq!(dumb.unwrap().operations[0].name.as_str(), "http.GET");
}

#[test]
fn invariant_6_only_a_proved_branch_is_not_forced() {
    let operation = |name: &str| {
        let content = format!("{}0000PACK", line(&format!("{OLD} {NEW} {name}")));
        let request = request("POST", "/a/git-receive-pack", content.as_bytes());
        crate::recognise(&request).unwrap().operations.remove(0)
    };
    let mut branch = operation("refs/heads/main");
    prove(&mut branch, |_, _| false);
    assert_eq!(branch.effect, Effect::Destructive);
    prove(&mut branch, |old, new| (old, new) == (OLD, NEW));
    assert_eq!(
        (branch.name.as_str(), branch.effect),
        ("git.push", Effect::Write)
    );
    let mut tag = operation("refs/tags/v1");
    prove(&mut tag, |_, _| true);
    assert_eq!(tag.effect, Effect::Destructive);
}

#[test]
fn a_remote_is_granted_for_its_repository_alone() {
    let is =
        |path: &str, method: &str| is_of_repository("/a/b", path, &Method::parse(method).unwrap());
    assert!(is("/a/b/info/refs", "GET") && is("/a/b.git/git-upload-pack", "POST"));
    assert!(is("/a/b.git/git-receive-pack", "POST") && is("/a/b/objects/info/packs", "GET"));
    for path in [
        "/a/bc/info/refs",
        "/a/b",
        "/a/b/settings",
        "/a/b.git.git/HEAD",
        "/a/b.git/x/info/refs",
    ] {
        assert!(!is(path, "GET"), "{path}");
    }
    assert!(!is("/a/b/info/refs", "POST") && !is("/a/b/info/lfs/objects/batch", "POST"));
}

proptest! {
    #[test]
    fn reading_is_total(content in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Push::read(&content);
    }

    #[test]
    fn what_is_read_is_all_that_stands_before_the_pack(names in proptest::collection::hash_set("[a-z]{1,8}", 1..6)) {
        let lines: String = names.iter().map(|name| line(&format!("{OLD} {NEW} refs/heads/{name}"))).collect();
        let push = Push::read(format!("{lines}0000PACK").as_bytes()).unwrap();
        prop_assert_eq!(push.commands.len(), names.len());
    }
}
