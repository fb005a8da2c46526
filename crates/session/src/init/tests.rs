//! Proposals for workspaces as they are, and for one that an attacker laid out.

use super::*;

const STRIPE: &str = "sk_live_51Nq8ZxKv3LmPw7RtYb2HcJd9Fg4SaEuXo6iQkT1nVrWyBzCMe5";
const RAILWAY: &str = "3f6e1c2a-9b7d-4e58-a1c0-5d2f8b6e4a97";

struct Case {
    folder: tempfile::TempDir,
    home: Home,
}

fn case(files: &[(&str, &str)]) -> Case {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let home =
        Home::open(|name| (name == "TAGOUT_HOME").then(|| state.to_str().unwrap().to_owned()))
            .unwrap();
    for (path, text) in files {
        let path = folder.path().join("shop").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    Case { folder, home }
}

impl Case {
    fn workspace(&self) -> PathBuf {
        self.folder.path().join("shop")
    }

    fn propose(&self) -> Result<Proposal, InitError> {
        propose(&self.home, &self.workspace(), false, &|_| {})
    }
}

fn without_marks(text: &str) -> String {
    // An offer is what a comment says that begins with a table or an assignment.
    text.lines()
        .filter_map(|line| match line.strip_prefix("# ") {
            Some(offer) if offer.starts_with("[[") || offer.contains(" = ") => Some(offer),
            Some(_) => None,
            None => Some(line),
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_workspace_is_read_and_everything_is_offered_without_a_value() {
    let case = case(&[
        (
            ".env",
            &format!("STRIPE_SECRET_KEY={STRIPE}\nRAILWAY_API_TOKEN={RAILWAY}\n"),
        ),
        (".env.production", &format!("STRIPE_SECRET_KEY={STRIPE}\n")),
        ("infra/staging/main.tf", "provider \"aws\" {}\n"),
        (
            "docker-compose.yml",
            "services:\n  db:\n    image: postgres:16\n",
        ),
        ("package.json", "{\"name\": \"shop\"}"),
        ("railway.json", "{}"),
        (
            ".git/config",
            "[remote \"origin\"]\n\turl = https://me:hunter2hunter2@github.com/a/b.git\n",
        ),
    ]);
    let proposal = case.propose().unwrap();
    let text = &proposal.text;
    for value in [STRIPE, RAILWAY, "hunter2"] {
        assert!(!text.contains(value), "{text}");
    }
    for expected in [
        "source = \"file:.env#STRIPE_SECRET_KEY\"",
        "hosts = [\"api.stripe.com\"]",
        "source = \"file:.env#RAILWAY_API_TOKEN\"",
        "provider = \"railway\"",
        "name = \"stripe-2\"",
        "protected = true",
        "name = \"staging\"",
        "local = 5432",
        "github.com",
        "npm",
        "aws:account/ID",
    ] {
        assert!(text.contains(expected), "{expected} is missing in\n{text}");
    }
    // Granted as it stands: nothing.
    let manifest = Manifest::parse(text, "tagout.toml").unwrap();
    let task = manifest.into_task();
    assert!(task.credentials.is_empty() && task.hosts.is_empty());
    assert!(task.environments.iter().any(|entry| entry.protected));
}

#[test]
fn every_offer_is_valid_when_it_is_taken() {
    let case = case(&[(
        ".env",
        &format!("STRIPE_SECRET_KEY={STRIPE}\nRAILWAY_API_TOKEN={RAILWAY}\n"),
    )]);
    let text = without_marks(&case.propose().unwrap().text).replace("api.example.com", "x.example");
    let manifest = Manifest::parse(&text, "tagout.toml");
    let task = manifest
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .into_task();
    assert_eq!(task.credentials.len(), 2);
}

#[test]
fn names_of_an_attackers_choice_grant_nothing() {
    let evil = "a\"]\n[[host]]\nname = \"evil.example\"\n#.env";
    let case = case(&[
        (evil, &format!("STRIPE_SECRET_KEY={STRIPE}\n")),
        ("x\u{1b}[2J.env", &format!("STRIPE_API_KEY={STRIPE}\n")),
    ]);
    let text = case.propose().unwrap().text;
    assert!(!text.contains('\u{1b}'));
    let task = Manifest::parse(&text, "tagout.toml").unwrap().into_task();
    assert!(
        task.hosts.is_empty() && task.credentials.is_empty(),
        "{text}"
    );
}

#[test]
fn a_manifest_is_never_replaced() {
    let case = case(&[("tagout.toml", "[task]\nname = \"mine\"\n")]);
    assert!(matches!(case.propose(), Err(InitError::Exists(_))));
    let dangling = self::case(&[("a", "")]);
    let link = dangling.workspace().join("tagout.toml");
    std::os::unix::fs::symlink("/nowhere", link).unwrap();
    assert!(matches!(dangling.propose(), Err(InitError::Exists(_))));
}

#[test]
fn a_task_is_named_after_its_folder() {
    for (folder, name) in [
        ("shop", "shop"),
        ("with space", "with-space"),
        ("  two   spaces ", "two-spaces"),
        ("a\u{1b}[31m\"b", "a-31m-b"),
        ("größe", "gr-e"),
        ("買い物", "task"),
        ("", "task"),
    ] {
        assert_eq!(task_name(folder), name, "{folder}");
    }
    assert_eq!(task_name(&"x y".repeat(100)).chars().count(), 60);
}
