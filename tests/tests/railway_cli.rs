//! The real Railway command line (crate `railwayapp`), which knows nothing of Tagout, in sessions whose
//! provider is the fake: what it reads it reads, what it destroys waits for a person.

use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tagout_fake_railway::{Demo, FakeRailway, Options, RunningFake};
use tagout_tests::{Finished, Person, Running, World, eventually, for_each_person, id};

/// What the command line gives a request, unless told otherwise (its `src/consts.rs`).
const ITS_TIMEOUT: Duration = Duration::from_secs(90);

const LINK: &str = "railway link --project pocketos --environment staging --service api";

/// A workspace of a Railway project with the command line installed, on a staging task.
struct Evening {
    world: World,
    fake: RunningFake,
    demo: Demo,
    variable: &'static str,
    token: String,
}

impl Evening {
    /// The token of an account, which can do everything everywhere.
    fn with_an_account_token(person: Person) -> Evening {
        let demo = Demo::new();
        let token = demo.account_token.clone();
        Evening::new(person, demo, "RAILWAY_API_TOKEN", token)
    }

    /// The token of one environment.
    fn with_a_project_token(person: Person) -> Evening {
        let demo = Demo::new();
        let token = demo.staging_token.clone();
        Evening::new(person, demo, "RAILWAY_TOKEN", token)
    }

    fn new(person: Person, demo: Demo, variable: &'static str, token: String) -> Evening {
        let fake = FakeRailway::start(Options {
            world: demo.world.clone(),
            ..Options::default()
        })
        .expect("the fake provider starts");
        let mut world = World::new(person);
        world.believe_pem(&fake.ca_pem);
        world.route_to("backboard.railway.com:443", &fake.address.to_string());
        world.place(&railway(), &world.home().join(".local/bin/railway"));
        // How Railway builds and runs the service: a file of the repository, which grants nothing.
        world.write(
            "railway.json",
            r#"{"$schema":"https://railway.com/railway.schema.json","deploy":{"startCommand":"true"}}"#,
        );
        world.manifest(&format!(
            "[task]\nname = \"fix-staging-login\"\nenvironment = \"staging\"\n\n\
             [[environment]]\nname = \"production\"\nprotected = true\n\
             resources = [\"railway:environment/{}\"]\n\n\
             [[environment]]\nname = \"staging\"\nresources = [\"railway:environment/{}\"]\n\n\
             [[credential]]\nname = \"railway\"\nprovider = \"railway\"\n\
             source = \"env:{variable}\"\nexpose = \"{variable}\"\n\
             operations = [\"read\", \"volumeDelete\", \"deploymentRemove\"]\nenvironments = [\"staging\"]\n",
            demo.production, demo.staging
        ));
        Evening {
            world,
            fake,
            demo,
            variable,
            token,
        }
    }

    /// Starts lines of bash in a session.
    fn start(&self, options: &[&str], line: &str) -> Running {
        let mut command = self.world.run_command(options, line);
        command.env(self.variable, &self.token);
        self.world.start(&mut command)
    }

    fn run(&self, options: &[&str], line: &str) -> Finished {
        let finished = self.start(options, line).end();
        assert!(
            !finished.everything().contains(&self.token),
            "the token is inside: {finished}"
        );
        finished
    }

    /// Waits for the hold of an operation.
    fn hold(&self, operation: &str) -> Value {
        let mut found = None;
        eventually(&format!("a hold of {operation}"), || {
            found = self.world.json(&["holds"]).into_iter().find(|hold| {
                hold["state"] == "pending"
                    && hold["action"]["operations"].to_string().contains(operation)
            });
            found.is_some()
        });
        found.expect("just found")
    }

    /// How many requests with this operation reached the provider.
    fn arrived(&self, operation: &str) -> usize {
        let requests = self.fake.requests();
        let names = |body: &[u8]| String::from_utf8_lossy(body).contains(operation);
        requests
            .iter()
            .filter(|request| names(&request.body))
            .count()
    }

    /// Everything that arrived carried the real token, where its kind belongs, and nothing else did.
    fn assert_only_the_real_token_arrived(&self) {
        let requests = self.fake.requests();
        assert!(!requests.is_empty());
        for request in requests {
            let carried = match self.variable {
                "RAILWAY_TOKEN" => request.project_access_token.clone(),
                _ => request
                    .authorization
                    .as_deref()
                    .and_then(|value| value.strip_prefix("Bearer "))
                    .map(str::to_owned),
            };
            assert_eq!(carried.as_ref(), Some(&self.token));
        }
    }
}

/// The program that `cargo xtask test` installed.
fn railway() -> PathBuf {
    let path = std::env::var_os("TAGOUT_TEST_RAILWAY").map_or_else(
        || {
            PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("../target/test-tools/railway/bin/railway")
        },
        PathBuf::from,
    );
    assert!(
        path.exists(),
        "Railway's command line is not installed: `cargo xtask test` does that"
    );
    path
}

for_each_person! {
    fn invariant_3_its_reads_pass_with_a_decoy_for_a_token(person: Person) {
        let evening = Evening::with_an_account_token(person);
        let finished = evening.run(
            &[],
            &format!(
                "set -e; railway whoami; railway list; {LINK}; railway status; railway volume list; \
                 echo \"token $RAILWAY_API_TOKEN\""
            ),
        ).success();
        for said in ["Logged in as Jer", "pocketos", "linked successfully", "Environment:     staging", "Volume: pg-data", "Volume: scratch"] {
            assert!(finished.stdout.contains(said), "{said:?}: {finished}");
        }
        assert!(finished.stdout.lines().any(|line| line.len() == "token ".len() + 36), "a decoy of its shape: {finished}");
        evening.assert_only_the_real_token_arrived();
        assert!(evening.world.json(&["holds"]).is_empty(), "reading asks nobody");
        evening.world.verify_all();
    }
}

for_each_person! {
    fn invariant_7_it_deletes_a_staging_volume_once_after_approval(person: Person) {
        let evening = Evening::with_an_account_token(person);
        let session = evening.start(&[], &format!("set -e; {LINK}; railway volume delete --volume scratch --yes"));
        let hold = evening.hold("volumeDelete");
        assert!(evening.fake.state().has_volume(&evening.demo.scratch), "nothing happens before the answer");
        assert_eq!(hold["action"]["environment"], "staging", "{hold}");
        assert_eq!(hold["action"]["effect"], "irreversible", "{hold}");
        let shown = evening.world.tagout(&["approve", id(&hold), "--yes"]).success();
        assert!(shown.stdout.contains("scratch"), "what will be lost is shown: {shown}");
        let finished = session.end().success();
        assert!(!finished.everything().contains(&evening.token), "{finished}");
        assert!(!evening.fake.state().has_volume(&evening.demo.scratch), "{finished}");
        assert!(evening.fake.state().has_volume(&evening.demo.pg_data), "{finished}");
        assert_eq!(evening.arrived("volumeDelete"), 1);
        evening.assert_only_the_real_token_arrived();
        evening.world.verify_all();
    }
}

for_each_person! {
    fn invariant_5_it_does_not_delete_a_volume_that_production_has_too(person: Person) {
        let evening = Evening::with_an_account_token(person);
        let finished = evening.run(&[], &format!("{LINK}; railway volume delete --volume pg-data --yes"));
        assert_ne!(finished.status, 0, "{finished}");
        assert!(finished.stderr.contains("Tagout denied this"), "it prints why: {finished}");
        assert!(evening.fake.state().has_volume(&evening.demo.pg_data));
        assert_eq!(evening.arrived("volumeDelete"), 0);
    }
}

for_each_person! {
    fn it_takes_a_deployment_down_after_approval_and_not_after_a_denial(person: Person) {
        let evening = Evening::with_an_account_token(person);
        let session = evening.start(&[], &format!("{LINK}; railway down --yes || railway down --yes"));
        let hold = evening.hold("deploymentRemove");
        evening.world.tagout(&["deny", id(&hold), "--reason", "the demo runs on it"]).success();
        // What was denied is denied again, without anybody being asked.
        let finished = session.end();
        assert_ne!(finished.status, 0, "{finished}");
        assert!(finished.stderr.contains("the demo runs on it"), "{finished}");
        assert_eq!(evening.arrived("deploymentRemove"), 0);

        let session = evening.start(&[], &format!("set -e; {LINK}; railway down --yes"));
        let hold = evening.hold("deploymentRemove");
        assert!(hold["action"]["resources"].to_string().contains("railway:deployment/"), "{hold}");
        evening.world.tagout(&["approve", id(&hold), "--yes"]).success();
        session.end().success();
        assert_eq!(evening.arrived("deploymentRemove"), 1);
        evening.world.verify_all();
    }
}

for_each_person! {
    fn the_token_of_one_environment_works_as_an_accounts_does(person: Person) {
        let evening = Evening::with_a_project_token(person);
        // It is linked by its token.
        let line = "set -e; railway status; railway volume list; railway volume delete --volume scratch --yes; \
                    echo \"token $RAILWAY_TOKEN\"";
        let session = evening.start(&[], line);
        let hold = evening.hold("volumeDelete");
        evening.world.tagout(&["approve", id(&hold), "--yes"]).success();
        let finished = session.end().success();
        assert!(!finished.everything().contains(&evening.token), "{finished}");
        assert!(finished.stdout.contains("staging"), "{finished}");
        assert!(!evening.fake.state().has_volume(&evening.demo.scratch), "{finished}");
        assert_eq!(evening.arrived("volumeDelete"), 1);
        evening.assert_only_the_real_token_arrived();
        evening.world.verify_all();
    }
}

/// A login lies in the home, which is not there inside. A manifest names it, and it works by a decoy.
#[test]
fn invariant_3_a_login_outside_is_brought_by_the_manifest_alone() {
    let mut evening = Evening::with_an_account_token(Person::ordinary());
    let login = format!(
        r#"{{"user":{{"token":"{}"}},"projects":{{}}}}"#,
        evening.token
    );
    evening.world.write_home(".railway/config.json", &login);
    evening.variable = "UNUSED";
    let finished = evening.run(&[], "railway whoami");
    assert_ne!(finished.status, 0, "{finished}");

    let manifest = evening.world.read("tagout.toml").expect("the manifest");
    let source = manifest.replace(
        "env:RAILWAY_API_TOKEN",
        "file:~/.railway/config.json#user.token",
    );
    assert_ne!(source, manifest);
    evening.world.manifest(&source);
    let finished = evening
        .run(&[], "railway whoami; cat ~/.railway/config.json")
        .everything();
    assert!(finished.contains("Logged in as Jer"), "{finished}");
    evening.variable = "RAILWAY_API_TOKEN";
    evening.assert_only_the_real_token_arrived();
}

/// Nobody answers: with Tagout's own waiting time, the refusal comes while the command line still listens.
#[test]
fn an_unanswered_hold_is_refused_before_its_timeout() {
    let evening = Evening::with_an_account_token(Person::ordinary());
    let start = Instant::now();
    let finished = evening.run(
        &[],
        &format!("{LINK}; railway volume delete --volume scratch --yes"),
    );
    let took = start.elapsed();
    assert!(
        took > Duration::from_secs(60) && took < ITS_TIMEOUT,
        "{took:?}: {finished}"
    );
    assert_ne!(finished.status, 0, "{finished}");
    assert!(
        finished
            .stderr
            .contains("Tagout held this: railway.volumeDelete"),
        "{finished}"
    );
    assert!(
        finished.stderr.contains("tagout approve h-"),
        "it says what to do: {finished}"
    );
    assert_eq!(evening.arrived("volumeDelete"), 0);
    assert!(evening.fake.state().has_volume(&evening.demo.scratch));
    evening.world.verify_all();
}
