//! The corpus under `corpus/manifests`: each file's own comments say what is wrong on which line
//! (`#!`, several separated by ` | `) and what is not yet enforced (`#~`). Then what a read manifest
//! means.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use tagout_core::{
    CanonicalPath, CredentialUse, Effect, Flag, Flags, HostName, Operation, OperationName, Scope,
    Target, Transport,
};

use super::*;
use crate::task::OperationGrant;

/// What the comments behind `mark` say, by line.
fn marked(text: &str, mark: &str) -> BTreeMap<usize, Vec<String>> {
    let mut lines = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        if let Some((_, behind)) = line.split_once(mark) {
            let expected = behind
                .split(" | ")
                .map(|part| part.trim().to_owned())
                .collect();
            lines.insert(index + 1, expected);
        }
    }
    lines
}

/// Compares what was found with what the comments say: the same lines, as many on each, and each
/// text contained in one that was found there.
fn compare(file: &str, expected: &BTreeMap<usize, Vec<String>>, found: &[(usize, String)]) {
    let mut by_line: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for (line, message) in found {
        by_line.entry(*line).or_default().push(message);
    }
    let counts = |lines: Vec<(usize, usize)>| lines;
    assert_eq!(
        counts(
            by_line
                .iter()
                .map(|(line, all)| (*line, all.len()))
                .collect()
        ),
        counts(
            expected
                .iter()
                .map(|(line, all)| (*line, all.len()))
                .collect()
        ),
        "{file}: {found:#?}"
    );
    for (line, texts) in expected {
        for text in texts {
            let there = &by_line[line];
            assert!(
                there.iter().any(|message| message.contains(text)),
                "{file}:{line}: expected {text:?}, found {there:?}"
            );
        }
    }
}

#[test]
fn every_manifest_of_the_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/manifests");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        read += 1;
        let mistakes = marked(&text, "#!");
        match Manifest::parse(&text, "tagout.toml") {
            Ok(_) => {
                assert!(
                    file.starts_with("good-"),
                    "{file} was read without a mistake"
                );
            }
            Err(errors) => {
                assert!(file.starts_with("bad-"), "{file}: {errors}");
                let found: Vec<_> = errors
                    .errors()
                    .iter()
                    .map(|e| (e.line, e.message.clone()))
                    .collect();
                compare(&file, &mistakes, &found);
                assert!(
                    !errors.to_string().contains("sk-live"),
                    "a source was quoted"
                );
            }
        }
    }
    assert!(read >= 12, "the corpus has {read} files");
}

fn manifest(text: &str) -> Manifest {
    Manifest::parse(text, "tagout.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

fn example() -> Manifest {
    manifest(include_str!(
        "../../corpus/manifests/good-product-example.toml"
    ))
}

fn target(host: &str, port: u16) -> Target {
    Target {
        transport: if port == 80 {
            Transport::Plain
        } else {
            Transport::Tls
        },
        host: HostName::parse(host).unwrap(),
        port,
    }
}

fn method(text: &str) -> tagout_core::Method {
    tagout_core::Method::parse(text).unwrap()
}

fn path(text: &str) -> CanonicalPath {
    CanonicalPath::parse(text).unwrap()
}

fn environment(name: &str) -> EnvironmentName {
    EnvironmentName::parse(name).unwrap()
}

fn operation(name: &str, effect: Effect, flags: Flags, scope: Scope) -> Operation {
    Operation {
        name: OperationName::parse(name).unwrap(),
        known: true,
        effect,
        flags,
        scope,
        resources: Vec::new(),
        unresolved: None,
        arguments: serde_json::Value::Null,
    }
}

fn uses(name: &str) -> Vec<CredentialUse> {
    vec![CredentialUse {
        name: name.to_owned(),
        generation: 1,
        slot: "header authorization".to_owned(),
    }]
}

#[test]
fn the_example_means_what_the_documentation_says() {
    let task = example().into_task();
    assert_eq!(task.name, "fix-staging-login");
    assert_eq!(task.environment, environment("staging"));
    assert_eq!(task.bulk, ["node_modules", "target"]);
    assert_eq!(task.agent_variables, ["MY_SETTING"]);
    assert!(task.has_protected_environment());
    let credential = task.credential("railway").unwrap();
    let named = OperationGrant::Named("customDomainCreate".to_owned());
    assert_eq!(credential.operations, [OperationGrant::Read, named]);
    assert_eq!(credential.environments, [environment("staging")]);
    assert!(!credential.follows_task_environment);
    let production = environment("production");
    let host = |name| HostName::parse(name).unwrap();
    assert_eq!(
        task.environment_of_host(&host("db.prod.example.com")),
        Some(&production)
    );
    assert_eq!(task.environment_of_host(&host("prod.example.com")), None);
    let resource = "railway:environment/e-prd".parse().unwrap();
    assert_eq!(task.environment_of_resource(&resource), Some(&production));
}

#[test]
fn what_a_host_entry_leaves_out_is_not_granted() {
    let task = example().into_task();
    let granted =
        |host, port, verb, at| task.grants_request(&target(host, port), &method(verb), &path(at));
    assert!(granted("api.example.com", 443, "POST", "/v1/search/x"));
    assert!(!granted("api.example.com", 443, "DELETE", "/v1/search/x"));
    assert!(!granted("api.example.com", 443, "GET", "/v1/users"));
    assert!(!granted("api.example.com", 80, "GET", "/v1/search/x"));
    assert!(!granted(
        "api.example.com",
        443,
        "GET",
        "/v1/search/%2e%2e%2fadmin"
    ));
    assert!(!granted("other.example.com", 443, "GET", "/"));
    assert!(granted("backboard.railway.com", 443, "POST", "/graphql/v2"));
    assert!(!granted("backboard.railway.com", 80, "POST", "/graphql/v2"));
    let host = |name| HostName::parse(name).unwrap();
    assert!(task.grants_connection(&host("api.example.com"), 443));
    assert!(!task.grants_connection(&host("api.example.com"), 80));
    assert!(task.grants_connection(&host("backboard.railway.com"), 443));
    assert!(!task.grants_connection(&host("backboard.railway.com"), 8443));
}

#[test]
fn invariant_5_reading_is_granted_without_secrets() {
    let task = example().into_task();
    let railway = target("backboard.railway.com", 443);
    let granted = |name, effect, flags| {
        let operation = operation(name, effect, flags, Scope::Resources);
        let (verb, at) = (method("POST"), path("/graphql/v2"));
        task.grants_operation(&operation, &railway, &verb, &at, &uses("railway"))
    };
    let secret = Flags::NONE.with(Flag::SecretRead);
    assert!(granted("railway.volumeInstance", Effect::Read, Flags::NONE));
    assert!(!granted("railway.variables", Effect::Read, secret));
    assert!(!granted(
        "railway.volumeDelete",
        Effect::Irreversible,
        Flags::NONE
    ));
    assert!(!granted("railway.volumeUpdate", Effect::Write, Flags::NONE));
    assert!(granted(
        "railway.customDomainCreate",
        Effect::Write,
        Flags::NONE
    ));
    // Another task's credential is no credential of this one.
    let read = operation("railway.me", Effect::Read, Flags::NONE, Scope::Account);
    let (verb, at) = (method("POST"), path("/graphql/v2"));
    assert!(!task.grants_operation(&read, &railway, &verb, &at, &uses("other")));
}

#[test]
fn a_host_entry_never_grants_a_providers_operations() {
    let mut task = Task::without_manifest();
    task.allow_host("backboard.railway.com").unwrap();
    let railway = target("backboard.railway.com", 443);
    let (verb, at) = (method("POST"), path("/graphql/v2"));
    assert!(task.grants_request(&railway, &verb, &at));
    let read = operation("railway.me", Effect::Read, Flags::NONE, Scope::Account);
    assert!(!task.grants_operation(&read, &railway, &verb, &at, &[]));
    let post = operation("http.POST", Effect::Write, Flags::NONE, Scope::None);
    assert!(task.grants_operation(&post, &railway, &verb, &at, &[]));
}

#[test]
fn allow_host_opens_one_host_and_binds_nothing() {
    let mut task = Task::without_manifest();
    let host = |name| HostName::parse(name).unwrap();
    assert!(!task.grants_connection(&host("a.example.com"), 443));
    task.allow_host("a.example.com").unwrap();
    task.allow_host("b.example.com:8443").unwrap();
    assert!(task.grants_request(
        &target("a.example.com", 443),
        &method("DELETE"),
        &path("/x")
    ));
    assert!(!task.grants_connection(&host("a.example.com"), 80));
    assert!(task.grants_connection(&host("b.example.com"), 8443));
    assert!(!task.grants_connection(&host("b.example.com"), 443));
    assert!(task.inspects(&host("a.example.com"), 443));
    assert_eq!(
        task.credentials_for(&target("a.example.com", 443)).count(),
        0
    );
    for wrong in [
        "",
        "a b",
        "a.example.com:0",
        "a.example.com:70000",
        "http://a",
        "a.example.com/v1",
        "localhost",
        "LOCALHOST:3000",
        "10.0.0.1",
        "::1",
    ] {
        assert!(task.allow_host(wrong).is_err(), "{wrong}");
    }
    let unread = "[[host]]\nname = \"a.example.com\"\ninspect = false\n";
    let mut task = manifest(unread).into_task();
    assert_eq!(
        task.allow_host("a.example.com"),
        Err(crate::AllowHostError::PassedThrough(1))
    );
    assert!(!task.inspects(&host("a.example.com"), 443));
}

#[test]
fn a_chosen_environment_takes_the_credentials_that_list_none_along() {
    let text = "[task]\nenvironment = \"staging\"\n[[environment]]\nname = \"production\"\n\
                protected = true\n[[credential]]\nname = \"a\"\nprovider = \"railway\"\n\
                source = \"env:A\"\n[[credential]]\nname = \"b\"\nprovider = \"railway\"\n\
                source = \"env:B\"\nenvironments = [\"staging\"]\n";
    let mut task = manifest(text).into_task();
    let production = environment("production");
    assert!(!task.credential("a").unwrap().lists(&production));
    assert!(task.choose_environment(&environment("prod")).is_err());
    task.choose_environment(&production).unwrap();
    assert_eq!(task.environment, production);
    assert!(task.credential("a").unwrap().lists(&production));
    assert!(!task.credential("b").unwrap().lists(&production));
    assert!(task.is_protected(Some(&production)));
}

#[test]
fn invariant_5_unresolved_is_protected_and_never_disposable() {
    let text = "[[environment]]\nname = \"production\"\ndisposable = true\n";
    let task = manifest(text).into_task();
    assert!(task.is_protected(None));
    assert!(!task.is_disposable(None));
    assert!(task.is_disposable(Some(&environment("production"))));
}

#[test]
fn the_most_protected_of_nested_host_pins_counts() {
    let text = include_str!("../../corpus/manifests/good-neighbours.toml");
    let task = manifest(text).into_task();
    let of = |name| {
        task.environment_of_host(&HostName::parse(name).unwrap())
            .cloned()
    };
    assert_eq!(of("db.prod.example.com"), Some(environment("production")));
    assert_eq!(of("db.example.com"), Some(environment("staging")));
    assert_eq!(of("example.org"), None);
    assert_eq!(
        task.credential("model").unwrap().slot.as_deref(),
        Some("x-api-key")
    );
}

#[test]
fn the_review_names_every_source_and_every_lowered_protection() {
    let text = "[task]\nenvironment = \"preview\"\n[[environment]]\nname = \"preview\"\n\
                disposable = true\n[[host]]\nname = \"a.example.com\"\ninspect = false\n\
                [[host]]\nname = \"b.example.com\"\nports = [80]\nmethods = [\"POST\"]\n\
                [[credential]]\nname = \"railway\"\nprovider = \"railway\"\nsource = \"env:TOKEN\"\n\
                operations = [\"write\"]\n[agent]\nenv = [\"SETTING\"]\n";
    let review = manifest(text).review().join("\n");
    for part in [
        "credential railway comes from env:TOKEN",
        "for write in preview",
        "lowered protection: a.example.com is passed through unread (inspect = false, line 6)",
        "b.example.com may be changed by POST on /**",
        "without encryption (port 80, line 9)",
        "lowered protection: destructive operations in preview need no approval",
        "your variable SETTING",
    ] {
        assert!(review.contains(part), "{part} is not in\n{review}");
    }
    assert!(manifest("").review().is_empty());
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    for (open, middle, close) in [
        ("a.", "a = 1", ""),
        ("", "a = ", "["),
        ("", "a = ", "{a="),
        ("[", "a", "]"),
        ("[a]\n[a.", "a]", ""),
    ] {
        for depth in [10, 300, 60_000] {
            let text = format!("{}{middle}{}", open.repeat(depth), close.repeat(depth));
            assert!(Manifest::parse(&text, "tagout.toml").is_err());
        }
    }
    let header = format!("[{}a]\n", "a.".repeat(100_000));
    assert!(Manifest::parse(&header, "tagout.toml").is_err());
}

proptest! {
    #[test]
    fn reading_never_panics(text in "\\PC{0,200}") {
        let _ = Manifest::parse(&text, "tagout.toml");
    }

    #[test]
    fn reading_never_panics_on_near_manifests(lines in proptest::collection::vec(
        prop_oneof![
            "\\[\\[?(task|host|environment|credential|agent|workspace)\\]?\\]",
            "(name|ports|methods|paths|source|provider|environments|resources) = (1|true|\"[a-z*:./#]{0,12}\"|\\[\"[a-z*:./#]{0,9}\"\\])",
        ],
        0..12,
    )) {
        let text = lines.join("\n");
        if let Err(errors) = Manifest::parse(&text, "tagout.toml") {
            let last = text.lines().count().max(1);
            prop_assert!(!errors.errors().is_empty());
            prop_assert!(errors.errors().iter().all(|e| (1..=last + 1).contains(&e.line)), "{}", errors);
        }
    }
}
