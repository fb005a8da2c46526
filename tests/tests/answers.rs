//! Answers that hold secrets: a person approves, and what comes in is decoys all the same.

use tagout_fake_railway::{Demo, FakeRailway, Options, RunningFake};
use tagout_tests::{Finished, Person, World, eventually, for_each_person};

const ENDPOINT: &str = "https://backboard.railway.app/graphql/v2";

struct Provider {
    world: World,
    fake: RunningFake,
    demo: Demo,
}

impl Provider {
    /// A staging task whose credential may read variables and make tokens.
    fn new(person: Person) -> Provider {
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
        world.manifest(&format!(
            "[task]\nname = \"look\"\nenvironment = \"staging\"\n\n\
             [[environment]]\nname = \"staging\"\nresources = [\"railway:environment/{}\"]\n\n\
             [[credential]]\nname = \"railway\"\nprovider = \"railway\"\n\
             source = \"env:RAILWAY_API_TOKEN\"\nexpose = \"RAILWAY_API_TOKEN\"\n\
             operations = [\"read\", \"variables\", \"projectTokenCreate\"]\n",
            demo.staging
        ));
        Provider { world, fake, demo }
    }

    /// Runs a document, approves what it is held for, and gives what the session printed.
    fn approved(&self, document: &str) -> Finished {
        let body = serde_json::json!({"query": document}).to_string();
        self.world.write("document.json", &body);
        let line = format!(
            "curl -sS {ENDPOINT} -H \"Authorization: Bearer $RAILWAY_API_TOKEN\" -d @document.json"
        );
        let session = self.world.start(
            self.world
                .run_command(&["--hold-wait", "60"], &line)
                .env("RAILWAY_API_TOKEN", &self.demo.account_token),
        );
        let mut pending = None;
        eventually("a hold", || {
            let holds = self.world.json(&["holds"]);
            pending = holds.into_iter().find(|hold| hold["state"] == "pending");
            pending.is_some()
        });
        let id = pending.expect("just found")["id"]
            .as_str()
            .expect("an id")
            .to_owned();
        self.world.tagout(&["approve", &id, "--yes"]).success();
        session.end().success()
    }
}

for_each_person! {
    fn invariant_3_variables_come_in_as_decoys(person: Person) {
        let provider = Provider::new(person);
        let demo = &provider.demo;
        let real = provider
            .fake
            .state()
            .variables
            .get(&(demo.staging.clone(), demo.api.clone(), "DATABASE_URL".to_owned()))
            .expect("a variable")
            .clone();
        let password = real.split(['@']).next().and_then(|front| front.rsplit(':').next()).expect("a password");
        let finished = provider.approved(&format!(
            "query {{ v: variables(projectId: \"{}\", environmentId: \"{}\", serviceId: \"{}\") }}",
            demo.project, demo.staging, demo.api
        ));
        assert!(finished.stdout.contains("\"DATABASE_URL\":\"postgresql://app:"), "{finished}");
        assert!(finished.stdout.contains("@staging.internal:5432/app"), "{finished}");
        assert!(!finished.everything().contains(password), "{finished}");
        provider.world.verify_all();
    }
}

for_each_person! {
    fn invariant_3_a_new_token_comes_in_as_a_decoy(person: Person) {
        let provider = Provider::new(person);
        let demo = &provider.demo;
        let finished = provider.approved(&format!(
            "mutation {{ made: projectTokenCreate(input: {{projectId: \"{}\", environmentId: \"{}\", name: \"n\"}}) }}",
            demo.project, demo.staging
        ));
        let answer: serde_json::Value = serde_json::from_str(&finished.stdout).expect("JSON");
        let shown = answer["data"]["made"].as_str().expect("a token");
        let state = provider.fake.state();
        let made = state.project_tokens.iter().find(|token| token.name == "n").expect("one was made");
        assert_ne!(made.value, shown);
        assert!(!finished.everything().contains(&made.value), "{finished}");
    }
}
