//! The vault and programs as sources of credentials, and what a provider says a credential can do.

use std::process::Stdio;

use serde_json::json;
use tagout_fake_railway::{Demo, FakeRailway, Options};
use tagout_tests::providers::{GitHub, GitHubToken, Stripe};
use tagout_tests::{
    Answer, Finished, Person, Server, Terminal, TestAuthority, World, for_each_person,
};

const VALUE: &str = "tk-7f3a9c1e5b2d4860af";

/// `tagout vault add`, with the value on standard input.
fn add(world: &World, name: &str, value: &str) -> Finished {
    use std::io::Write;
    let mut command = world.tagout_command(&["vault", "add", name]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tagout starts");
    let mut input = child.stdin.take().expect("its input");
    writeln!(input, "{value}").expect("it reads");
    drop(input);
    child.wait_with_output().expect("its end").into()
}

fn manifest(source: &str) -> String {
    format!(
        "[[credential]]\nname = \"api\"\nprovider = \"http\"\nsource = \"{source}\"\n\
         hosts = [\"api.example.com\"]\nslot = \"header:x-api-key\"\nexpose = \"API_KEY\"\n\
         [[host]]\nname = \"api.example.com\"\n"
    )
}

fn world(person: Person) -> (World, Server) {
    let authority = TestAuthority::new();
    let server = Server::start(&authority, &["api.example.com"], |_| {
        Answer::json(&json!({"ok": true}))
    });
    let mut world = World::new(person);
    world.believe(&authority);
    world.route("api.example.com", 443, &server);
    (world, server)
}

const CALL: &str =
    "curl -sS -H \"x-api-key: $API_KEY\" https://api.example.com/; echo; echo \"$API_KEY\"";

for_each_person! {
    fn invariant_3_a_stored_value_is_used_outside_and_shown_nowhere(person: Person) {
        let (world, server) = world(person);
        let added = add(&world, "api", VALUE).success();
        let listed = world.tagout(&["vault", "list"]).success();
        assert!(listed.stdout.contains("api  added "), "{listed}");
        world.manifest(&manifest("vault:api"));
        let finished = world.run(&[], CALL);
        assert!(finished.stdout.contains("\"ok\":true"), "{finished}");
        let received = server.received();
        assert_eq!(received[0].header("x-api-key"), Some(VALUE));
        for said in [added, listed, finished] {
            assert!(!said.everything().contains(VALUE), "{said}");
        }
        assert_ne!(add(&world, "api", "other").status, 0, "a name is taken once");
        world.tagout(&["vault", "remove", "api"]).success();
        let gone = world.run(&[], CALL);
        assert_eq!(gone.status, 125);
        assert!(gone.stderr.contains("tagout vault add api"), "{gone}");
    }
}

for_each_person! {
    fn a_programs_output_is_a_credential(person: Person) {
        let (world, server) = world(person);
        world.write_home("value", VALUE);
        let file = world.home().join("value");
        world.manifest(&manifest(&format!("command:cat {}", file.display())));
        let finished = world.run(&[], CALL);
        assert!(finished.stdout.contains("\"ok\":true"), "{finished}");
        assert_eq!(server.received()[0].header("x-api-key"), Some(VALUE));
        assert!(!finished.everything().contains(VALUE), "{finished}");
        // A script that the agent can change is not run outside.
        world.write("token.sh", "echo planted");
        let script = world.workspace().join("token.sh");
        world.manifest(&manifest(&format!("command:sh {}", script.display())));
        let refused = world.run(&[], CALL);
        assert_eq!(refused.status, 125);
        assert!(refused.stderr.contains("workspace"), "{refused}");
        world.manifest(&manifest("command:false"));
        let failed = world.run(&[], CALL);
        assert_eq!(failed.status, 125);
        assert!(failed.stderr.contains("`false` ended with"), "{failed}");
    }
}

for_each_person! {
    fn a_passphrase_is_asked_for_on_the_terminal_and_not_shown(person: Person) {
        let (world, _server) = world(person);
        let terminal = Terminal::open(&world);
        terminal
            .line("clear; tagout vault add api; echo status-$?")
            .shows("passphrase for the new vault")
            .line("correct horse battery")
            .shows("the same again")
            .line("correct horse battery")
            .shows("value of api")
            .line(VALUE)
            .shows("status-0");
        let screen = terminal.screen();
        assert!(!screen.contains(VALUE) && !screen.contains("correct horse"), "{screen}");
        world.manifest(&manifest("vault:api"));
        terminal
            .line("clear; tagout run -- true; echo status-$?")
            .shows("passphrase of the vault")
            .line("wrong horse")
            .shows("status-125")
            .shows("the passphrase is wrong")
            // The same question as above: only a screen that was cleared shows the new one.
            .line("clear; echo again-$((1 + 1)); tagout run -- true; echo status-$?")
            .shows("again-2")
            .shows("passphrase of the vault")
            .line("correct horse battery")
            .shows("status-0");
        // Without a terminal nobody can be asked.
        let unasked = world.run(&[], "true");
        assert_eq!(unasked.status, 125);
        assert!(unasked.stderr.contains("no terminal"), "{unasked}");
    }
}

for_each_person! {
    fn a_probe_says_what_a_railway_token_can_do(person: Person) {
        let demo = Demo::new();
        let fake = FakeRailway::start(Options { world: demo.world.clone(), ..Options::default() })
            .expect("the fake provider starts");
        let mut world = World::new(person);
        world.believe_pem(&fake.ca_pem);
        world.route_to("backboard.railway.com:443", &fake.address.to_string());
        add(&world, "railway", &demo.account_token).success();
        let found = world.tagout(&["vault", "probe", "railway"]).success();
        assert!(found.stdout.contains("Railway"), "{found}");
        assert!(found.stdout.contains("in every environment"), "{found}");
        assert!(!found.everything().contains(&demo.account_token), "{found}");

        add(&world, "staging", &demo.staging_token).success();
        let found = world.tagout(&["vault", "probe", "staging"]).success();
        assert!(found.stdout.contains("a project token"), "{found}");
        assert!(found.stdout.contains(&demo.staging), "{found}");

        add(&world, "stale", "3f6e1c2a-9b7d-4e58-a1c0-5d2f8b6e4a97").success();
        let refused = world.tagout(&["vault", "probe", "stale"]);
        assert_eq!(refused.status, 1);
        assert!(refused.stderr.contains("does not accept it"), "{refused}");

        let before = fake.requests().len();
        add(&world, "unknown", VALUE).success();
        let unknown = world.tagout(&["vault", "probe", "unknown"]);
        assert!(unknown.stderr.contains("sent to nobody"), "{unknown}");
        assert_eq!(fake.requests().len(), before);
    }
}

/// Values in the shape of a provider's, put together here so that no scanner takes them for real ones.
fn shaped(prefix: &str, rest: &str) -> String {
    format!("{prefix}{rest}")
}

fn probe(world: &World, name: &str, value: &str) -> Finished {
    add(world, name, value).success();
    let found = world.tagout(&["vault", "probe", name]);
    assert!(!found.everything().contains(value), "{found}");
    found
}

for_each_person! {
    fn a_probe_says_what_a_github_token_can_do(person: Person) {
        let authority = TestAuthority::new();
        let github = GitHub::default();
        let provider = github.clone();
        let server = Server::start(&authority, &["api.github.com"], move |request| {
            provider.answer(request)
        });
        let mut world = World::new(person);
        world.believe(&authority);
        world.route("api.github.com", 443, &server);

        let classic = shaped("ghp_", "q3Vb8Zk1Lr7Tn5Xw2Yc9Md4Hs6Jf0GpQaEuR");
        let what = GitHubToken::Classic {
            login: "octocat".to_owned(),
            scopes: vec!["delete_repo".to_owned(), "repo".to_owned()],
            expires: None,
        };
        github.issue(&classic, what);
        let found = probe(&world, "classic", &classic).success();
        for fact in ["acts as octocat", "may delete repositories", "never expires"] {
            assert!(found.stdout.contains(fact), "{fact}: {found}");
        }
        let received = server.received();
        assert_eq!(received.len(), 1);
        assert_eq!((received[0].method.as_str(), received[0].target.as_str()), ("GET", "/user"));

        let fine = shaped("github_pat_", "11ABCDEFG0q3Vb8Zk1Lr7Tn_5Xw2Yc9Md4Hs6Jf0GpQaEuRzZ");
        github.issue(&fine, GitHubToken::FineGrained { login: "octocat".to_owned() });
        let found = probe(&world, "fine", &fine).success();
        assert!(found.stdout.contains("which repositories it may change"), "{found}");

        let app = shaped("ghs_", "q3Vb8Zk1Lr7Tn5Xw2Yc9Md4Hs6Jf0GpQaEuR");
        github.issue(&app, GitHubToken::Installation);
        let found = probe(&world, "app", &app).success();
        assert!(found.stdout.contains("an installed GitHub App"), "{found}");

        github.revoke(&classic);
        let refused = world.tagout(&["vault", "probe", "classic"]);
        assert_eq!(refused.status, 1);
        assert!(refused.stderr.contains("GitHub does not accept it"), "{refused}");
    }
}

for_each_person! {
    fn a_probe_says_what_a_stripe_key_can_do(person: Person) {
        let authority = TestAuthority::new();
        let stripe = Stripe::default();
        let provider = stripe.clone();
        let server = Server::start(&authority, &["api.stripe.com"], move |request| {
            provider.answer(request)
        });
        let mut world = World::new(person);
        world.believe(&authority);
        world.route("api.stripe.com", 443, &server);

        let live = shaped("sk_live_", "51Nq3Vb8Zk1Lr7Tn5Xw2Yc9Md4Hs6Jf0GpQaEuR");
        stripe.issue(&live);
        let found = probe(&world, "live", &live).success();
        assert!(found.stdout.contains("real customers, real money"), "{found}");
        assert!(found.stdout.contains("everything in the account"), "{found}");
        assert_eq!(server.received().len(), 1);

        let restricted = shaped("rk_test_", "51Nq3Vb8Zk1Lr7Tn5Xw2Yc9Md4Hs6Jf0GpQaEuR");
        stripe.issue_restricted(&restricted, &["customers", "charges"]);
        let found = probe(&world, "restricted", &restricted).success();
        for fact in [
            "test mode",
            "may read customers, charges",
            "may not read balance, subscriptions, payouts",
            "what it may write",
        ] {
            assert!(found.stdout.contains(fact), "{fact}: {found}");
        }
        assert!(server.received().iter().all(|request| request.method == "GET"));

        stripe.roll(&live);
        let refused = world.tagout(&["vault", "probe", "live"]);
        assert_eq!(refused.status, 1);
        assert!(refused.stderr.contains("Stripe does not accept it"), "{refused}");
    }
}
