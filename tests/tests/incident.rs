//! The PocketOS incident, one point of refusal at a time: each holds alone.
//!
//! An agent on a staging task has found an account token and sends `volumeDelete` for a volume that
//! has a production instance. The provider is a fake with real state: what it deletes is gone.

use tagout_fake_railway::{Demo, FakeRailway, Options, RunningFake};
use tagout_tests::{Finished, Person, World, eventually, for_each_person};

const ENDPOINT: &str = "https://backboard.railway.app/graphql/v2";

struct Incident {
    world: World,
    fake: RunningFake,
    demo: Demo,
}

impl Incident {
    /// A workspace whose task is staging, with the provider at hand.
    fn new(person: Person) -> Incident {
        let demo = Demo::new();
        let fake = FakeRailway::start(Options {
            world: demo.world.clone(),
            ..Options::default()
        })
        .expect("the fake provider starts");
        let mut world = World::new(person);
        world.believe_pem(&fake.ca_pem);
        for name in ["backboard.railway.app:443", "backboard.railway.com:443"] {
            world.route_to(name, &fake.address.to_string());
        }
        Incident { world, fake, demo }
    }

    fn manifest(&self, rest: &str) {
        self.world.manifest(&format!(
            "[task]\nname = \"fix-staging-login\"\nenvironment = \"staging\"\n\n\
             [[environment]]\nname = \"production\"\nprotected = true\n\
             resources = [\"railway:environment/{}\"]\n\n\
             [[environment]]\nname = \"staging\"\nresources = [\"railway:environment/{}\"]\n\n{rest}",
            self.demo.production, self.demo.staging
        ));
    }

    /// The task's own grant: reads, and the deletion of volumes, in staging.
    fn granted(person: Person) -> Incident {
        let incident = Incident::new(person);
        incident.manifest(
            "[[credential]]\nname = \"railway\"\nprovider = \"railway\"\n\
             source = \"env:RAILWAY_API_TOKEN\"\nexpose = \"RAILWAY_API_TOKEN\"\n\
             operations = [\"read\", \"volumeDelete\"]\nenvironments = [\"staging\"]\n",
        );
        incident
    }

    fn run(&self, options: &[&str], line: &str) -> Finished {
        self.command(options, line)
            .output()
            .expect("tagout starts")
            .into()
    }

    fn command(&self, options: &[&str], line: &str) -> std::process::Command {
        let mut command = self.world.run_command(options, line);
        command.env("RAILWAY_API_TOKEN", &self.demo.account_token);
        command
    }

    fn is_whole(&self) -> bool {
        let now = self.fake.state();
        now.has_volume(&self.demo.pg_data) && now.has_volume(&self.demo.scratch)
    }

    fn provider_saw(&self, token: &str) -> bool {
        self.fake.requests().iter().any(|request| {
            request
                .authorization
                .as_deref()
                .is_some_and(|value| value.contains(token))
        })
    }
}

/// The incident's own bytes: JSON under curl's default content type.
fn delete(volume: &str, token: &str) -> String {
    format!(
        "curl -sS -X POST {ENDPOINT} -H \"Authorization: Bearer {token}\" \
         -d '{{\"query\":\"mutation {{ volumeDelete(volumeId: \\\"{volume}\\\") }}\"}}'"
    )
}

for_each_person! {
    fn invariant_3_the_token_in_the_repository_is_worthless(person: Person) {
        let incident = Incident::new(person);
        // The gate is out of the way: nothing is inspected, the provider itself has to refuse.
        incident.manifest("[[host]]\nname = \"backboard.railway.app\"\ninspect = false\n");
        incident.world.write(
            "scripts/domains.sh",
            &format!("#!/bin/sh\nRAILWAY_API_TOKEN={}\nexport RAILWAY_API_TOKEN\n", incident.demo.account_token),
        );
        let line = format!(". scripts/domains.sh; {}", delete(&incident.demo.pg_data, "$RAILWAY_API_TOKEN"));
        let finished = incident.run(&[], &line);
        assert!(!finished.everything().contains(&incident.demo.account_token), "{finished}");
        assert!(finished.stdout.contains("Not Authorized"), "the provider answers: {finished}");
        assert!(!incident.provider_saw(&incident.demo.account_token), "{finished}");
        assert!(incident.is_whole());
    }
}

for_each_person! {
    fn invariant_4_a_token_typed_from_outside_is_refused(person: Person) {
        let incident = Incident::granted(person);
        let line = format!(
            "curl -sS -X POST {ENDPOINT} -H 'Authorization: Bearer {}' -d '{{\"query\":\"{{ projects {{ edges {{ node {{ id name }} }} }} }}\"}}'",
            incident.demo.second_account_token
        );
        let finished = incident.run(&[], &line);
        assert!(finished.stdout.contains("tagout_denied"), "{finished}");
        assert!(finished.stdout.contains("\"errors\""), "a GraphQL client can read it: {finished}");
        assert!(!incident.provider_saw(&incident.demo.second_account_token), "{finished}");
    }
}

for_each_person! {
    fn invariant_5_a_volume_with_a_production_instance_is_not_deleted(person: Person) {
        let incident = Incident::granted(person);
        let volume = &incident.demo.pg_data;
        let bodies = [
            format!(r#"{{"query":"mutation {{ volumeDelete(volumeId: \"{volume}\") }}"}}"#),
            format!(r#"{{"query":"mutation {{ projects: volumeDelete(volumeId: \"{volume}\") }}"}}"#),
            format!(r#"{{"query":"mutation($id: String!) {{ ...f }} fragment f on Mutation {{ volumeDelete(volumeId: $id) }}","variables":{{"id":"{volume}"}}}}"#),
            format!(r#"{{"query":"mutation($id: String! = \"{volume}\") {{ volumeDelete(volumeId: $id) }}"}}"#),
            format!(r#"[{{"query":"{{ projects {{ edges {{ node {{ id }} }} }} }}"}},{{"query":"mutation {{ volumeDelete(volumeId: \"{volume}\") }}"}}]"#),
            format!(r#"{{"query":"{{ projects {{ edges {{ node {{ id }} }} }} }}","query":"mutation {{ volumeDelete(volumeId: \"{volume}\") }}"}}"#),
        ];
        for (number, body) in bodies.iter().enumerate() {
            incident.world.write(&format!("body-{number}.json"), body);
        }
        let line = "for body in body-*.json; do for kind in application/json application/x-www-form-urlencoded; do \
             curl -sS -X POST https://backboard.railway.app/graphql/v2 -H \"Authorization: Bearer $RAILWAY_API_TOKEN\" \
                  -H \"Content-Type: $kind\" --data-binary @$body; echo; done; done";
        let finished = incident.run(&["--hold-wait", "1"], line);
        let refused = finished.stdout.lines().filter(|line| line.contains("tagout_denied")).count();
        assert_eq!(refused, 2 * bodies.len(), "{finished}");
        assert!(incident.is_whole(), "{finished}");
        let sent = incident.fake.requests();
        assert!(
            sent.iter().all(|request| !String::from_utf8_lossy(&request.body).contains("volumeDelete")),
            "a deletion reached the provider"
        );
        incident.world.verify_all();
    }
}

for_each_person! {
    fn invariant_7_a_staging_volume_is_deleted_after_approval_once(person: Person) {
        let incident = Incident::granted(person);
        let volume = incident.demo.scratch.clone();
        let mut command = incident
            .command(
                &["--hold-wait", "60"],
                &format!("{}; echo; {} --max-time 4; true", delete(&volume, "$RAILWAY_API_TOKEN"), delete(&volume, "$RAILWAY_API_TOKEN")),
            )
;
        let session = incident.world.start(&mut command);
        let mut pending = None;
        eventually("a hold for the staging volume", || {
            pending = incident.world.json(&["holds"]).into_iter().find(|hold| hold["state"] == "pending");
            pending.is_some()
        });
        let hold = pending.expect("just found");
        assert!(incident.is_whole(), "nothing happens before the answer");
        assert!(hold["action"].to_string().contains("volumeDelete"), "{hold}");
        assert_eq!(hold["action"]["environment"], "staging", "{hold}");
        let id = hold["id"].as_str().expect("an id");
        let shown = incident.world.tagout(&["approve", id, "--yes"]).success();
        assert!(shown.everything().contains("scratch"), "what will be lost is shown: {shown}");

        let finished: Finished = session.end();
        assert!(!finished.everything().contains(&incident.demo.account_token), "{finished}");
        let now = incident.fake.state();
        assert!(!now.has_volume(&volume), "{finished}");
        assert!(now.has_volume(&incident.demo.pg_data), "{finished}");
        let deletions = incident
            .fake
            .requests()
            .iter()
            .filter(|request| String::from_utf8_lossy(&request.body).contains("volumeDelete"))
            .count();
        assert_eq!(deletions, 1, "{finished}");
        incident.world.verify_all();
    }
}

for_each_person! {
    fn the_demo_replays_and_stops_it(person: Person) {
        let world = World::new(person);
        let finished = world.tagout(&["demo"]).success();
        assert!(finished.stdout.contains("production"), "{finished}");
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn the_demo_of_databases_shows_holds_and_undoes(person: Person) {
        let world = World::new(person);
        let finished = world.tagout(&["demo", "database"]).success();
        assert!(
            finished.stdout.contains("exactly 4000 rows")
                && finished.stdout.contains("put back public.customers: 100 rows again"),
            "{finished}"
        );
        world.assert_nothing_left();
    }
}

#[test]
fn a_demo_that_is_not_there_names_those_that_are() {
    let world = World::new(Person::ordinary());
    let finished = world.tagout(&["demo", "redis"]);
    assert_ne!(finished.status, 0, "{finished}");
    assert!(finished.stderr.contains("`database`"), "{finished}");
}
