//! The fake over the wire, driven as an agent drives it: with curl, or raw TLS where curl is absent.

use std::io::Write as _;
use std::process::Command;

use serde_json::{Value as Json, json};
use tagout_fake_railway::{Demo, FakeRailway, Options, RunningFake};

struct Client {
    fake: RunningFake,
    ca: tempfile::NamedTempFile,
}

impl Client {
    fn start(world: tagout_fake_railway::World, page_size: usize) -> Self {
        let fake = FakeRailway::start(Options { world, page_size }).unwrap();
        let mut ca = tempfile::NamedTempFile::new().unwrap();
        ca.write_all(fake.ca_pem.as_bytes()).unwrap();
        Self { fake, ca }
    }

    /// Sends `body` as curl does without `-H content-type`; returns status and answer.
    fn post(&self, header: &str, body: &str) -> (u16, Json) {
        let port = self.fake.address.port();
        let output = Command::new("curl")
            .args(["-sS", "-X", "POST", "-w", "\n%{http_code}", "--cacert"])
            .arg(self.ca.path())
            .args(["--noproxy", "*", "--connect-to"])
            .arg(format!("backboard.railway.app:443:127.0.0.1:{port}"))
            .args(["https://backboard.railway.app/graphql/v2", "-H", header])
            .args(["--data-binary", body])
            .output()
            .expect("curl is installed");
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| {
            panic!("curl: {}", String::from_utf8_lossy(&output.stderr));
        });
        (status.parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    fn query(&self, token: &str, query: &str, variables: Json) -> Json {
        let body = json!({ "query": query, "variables": variables }).to_string();
        self.post(&format!("Authorization: Bearer {token}"), &body)
            .1
    }
}

#[test]
fn the_incident_destroys_everything_at_once() {
    let demo = Demo::new();
    let client = Client::start(demo.world.clone(), 100);
    let before = client.fake.state();
    assert_eq!(before.instances_of(&demo.pg_data).count(), 2);
    assert_eq!(
        before
            .instances_of(&demo.pg_data)
            .map(|it| it.backups.len())
            .sum::<usize>(),
        6
    );
    let body = format!(
        r#"{{"query":"mutation {{ volumeDelete(volumeId: \"{}\") }}"}}"#,
        demo.pg_data
    );
    let header = format!("Authorization: Bearer {}", demo.account_token);
    let (status, answer) = client.post(&header, &body);
    assert_eq!(
        (status, answer),
        (200, json!({"data": {"volumeDelete": true}}))
    );
    let after = client.fake.state();
    assert!(!after.has_volume(&demo.pg_data));
    assert_eq!(after.instances_of(&demo.pg_data).count(), 0);
    assert!(after.has_volume(&demo.scratch));
    let logged = client.fake.requests();
    assert_eq!(
        logged[0].content_type.as_deref(),
        Some("application/x-www-form-urlencoded")
    );
    assert_eq!(
        logged[0].authorization,
        Some(format!("Bearer {}", demo.account_token))
    );
    let (_, again) = client.post(&header, &body);
    assert_eq!(again["errors"][0]["message"], "Volume not found");
}

#[test]
fn a_token_that_nobody_issued_is_worthless() {
    let demo = Demo::new();
    let client = Client::start(demo.world.clone(), 100);
    let (status, answer) = client.post(
        "Authorization: Bearer 00000000-0000-4000-8000-000000000000",
        &json!({ "query": format!("mutation {{ volumeDelete(volumeId: \"{}\") }}", demo.pg_data) })
            .to_string(),
    );
    assert_eq!(status, 401);
    assert_eq!(answer["errors"][0]["message"], "Not Authorized");
    assert!(client.fake.state().has_volume(&demo.pg_data));
}

#[test]
fn a_project_token_reaches_one_environment() {
    let demo = Demo::new();
    let client = Client::start(demo.world.clone(), 100);
    let header = format!("Project-Access-Token: {}", demo.staging_token);
    let post = |query: String| {
        client
            .post(&header, &json!({ "query": query }).to_string())
            .1
    };
    let own = post("{ projectToken { project { name } environment { id name } } }".to_owned());
    assert_eq!(
        own["data"]["projectToken"]["environment"]["id"],
        json!(demo.staging)
    );
    for query in [
        format!(
            "mutation {{ volumeDelete(volumeId: \"{}\") }}",
            demo.pg_data
        ),
        "{ me { id } }".to_owned(),
        format!("{{ environment(id: \"{}\") {{ id }} }}", demo.production),
    ] {
        assert!(post(query.clone())["errors"].is_array(), "{query}");
    }
    assert_eq!(
        post(format!(
            "mutation {{ volumeDelete(volumeId: \"{}\") }}",
            demo.scratch
        )),
        json!({"data": {"volumeDelete": true}})
    );
    assert!(client.fake.state().has_volume(&demo.pg_data));
}

#[test]
fn pages_are_as_short_as_they_are_told_to_be() {
    let demo = Demo::new();
    let client = Client::start(demo.world.clone(), 1);
    let query = "query($after: String) { projects { edges { node { \
                 ...P } } } } \
                 fragment P on Project { all: volumes(first: 50, after: $after) { \
                 edges { cursor node { id name } } pageInfo { hasNextPage endCursor } } }";
    let mut names = Vec::new();
    let mut after = Json::Null;
    loop {
        let answer = client.query(&demo.account_token, query, json!({ "after": after }));
        let page = &answer["data"]["projects"]["edges"][0]["node"]["all"];
        let edges = page["edges"].as_array().unwrap();
        assert!(edges.len() <= 1, "{answer}");
        names.extend(edges.iter().map(|edge| edge["node"]["name"].clone()));
        if page["pageInfo"]["hasNextPage"] != json!(true) {
            break;
        }
        after = page["pageInfo"]["endCursor"].clone();
    }
    assert_eq!(names, ["pg-data", "scratch"]);
}

#[test]
fn arguments_change_what_a_mutation_does() {
    let demo = Demo::new();
    let client = Client::start(demo.world.clone(), 100);
    let update = "mutation($e: String, $input: VolumeInstanceUpdateInput!, $v: String!) { \
                  volumeInstanceUpdate(environmentId: $e, volumeId: $v, input: $input) }";
    let answer = client.query(
        &demo.account_token,
        update,
        json!({"e": demo.staging, "v": demo.pg_data, "input": {"state": "DELETING"}}),
    );
    assert_eq!(answer["data"]["volumeInstanceUpdate"], json!(true));
    let state = client.fake.state();
    let left: Vec<_> = state.instances_of(&demo.pg_data).collect();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].environment_id, demo.production);

    let upsert = "mutation($input: VariableCollectionUpsertInput!) { \
                  variableCollectionUpsert(input: $input) }";
    let input = json!({"projectId": demo.project, "environmentId": demo.staging,
        "serviceId": demo.api, "replace": true, "variables": {"A": "1"}});
    client.query(&demo.account_token, upsert, json!({ "input": input }));
    let names: Vec<_> = client
        .fake
        .state()
        .variables
        .keys()
        .filter(|(environment, _, _)| *environment == demo.staging)
        .map(|(_, _, name)| name.clone())
        .collect();
    assert_eq!(names, ["A"]);
}

#[test]
fn one_document_may_do_many_things() {
    let demo = Demo::new();
    let client = Client::start(demo.world.clone(), 100);
    let answer = client.query(
        &demo.account_token,
        "mutation($a: String!, $b: String!) { a: volumeDelete(volumeId: $a) ...B } \
         fragment B on Mutation { b: volumeDelete(volumeId: $b) }",
        json!({"a": demo.pg_data, "b": demo.scratch}),
    );
    assert_eq!(answer, json!({"data": {"a": true, "b": true}}));
    assert!(client.fake.state().volumes.is_empty());
}

#[test]
fn what_is_not_served_is_refused_before_anything_happens() {
    let demo = Demo::new();
    let client = Client::start(demo.world.clone(), 100);
    for query in [
        "{ me { password } }",
        "{ me }",
        "{ me { id { x } } }",
        "mutation { volumeDelete }",
        "{",
        "subscription { x }",
    ] {
        let answer = client.query(&demo.account_token, query, Json::Null);
        assert!(answer["errors"].is_array(), "{query}: {answer}");
    }
}
