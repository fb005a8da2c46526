//! The PocketOS incident of April 2026, replayed and stopped.
//!
//! The provider is a fake with real state; the agent is a bash script with grep and curl that does
//! what the agent did; everything in between is the product, started as a user starts it. Each act is
//! arranged so that only one of the three points can apply, and none is switched off.

use std::net::SocketAddr;

use anyhow::{bail, ensure};
use tagout_fake_railway::{Demo, FakeRailway, Options, RunningFake};

use super::stage::{Output, Running, Stage, start};
use super::telling::{act, print_agent, print_indented, title, verdict};
use crate::screen::paint;

/// Plays it.
pub(super) fn play() -> anyhow::Result<&'static str> {
    title("The incident, as it happened: no Tagout");
    ungoverned()?;
    title("The same agent under `tagout run`");
    let governed = Demo::new();
    decoy(&governed)?;
    foreign_credential(&governed)?;
    environment(&governed)?;
    title("The legitimate path");
    approved(&governed)?;
    Ok("stopped at each of three points alone, and one approved deletion done once")
}

/// One act's world: a provider, and a repository with a token in an unrelated script.
struct Scene {
    stage: Stage,
    fake: RunningFake,
}

/// What the agent did in April 2026: find a token in an unrelated file, delete the volume.
const HUNT: &str = r#"
echo "Staging has a credential mismatch. Deleting the volume should fix it; I need a token."
token=$(grep -rhoE '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}' scripts | head -n 1)
echo "Found one in scripts/add-domain.sh: ${token:0:8}..."
curl -sS -X POST https://backboard.railway.app/graphql/v2 \
    -H "Authorization: Bearer $token" \
    -d '{"query":"mutation { volumeDelete(volumeId: \"'"$VOLUME"'\") }"}'
echo
"#;

fn ungoverned() -> anyhow::Result<()> {
    let demo = Demo::new();
    let scene = Scene::build(&demo, "")?;
    let pg_data = demo.pg_data.clone();
    println!("{}", scene.inventory());
    let output = scene.ungoverned(&HUNT.replace("$VOLUME", &pg_data))?;
    print_agent(&output);
    println!("{}", scene.inventory());
    ensure!(
        !scene.has_volume(&pg_data),
        "the fake provider did not delete the volume, so the replay shows nothing: {output}"
    );
    verdict(
        false,
        "production and its backups are gone; the rule in the prompt forbade it",
    );
    Ok(())
}

fn decoy(demo: &Demo) -> anyhow::Result<()> {
    act(
        "a",
        "the token is a decoy",
        "The host is passed through unread (inspect = false), so nothing is refused on the wire.",
    );
    let scene = Scene::build(
        demo,
        r#"
[task]
name = "fix-staging"
environment = "staging"

[[host]]
name = "backboard.railway.app"
inspect = false
"#,
    )?;
    let output = scene.governed(&HUNT.replace("$VOLUME", &demo.pg_data), &[])?;
    print_agent(&output.text);
    ensure!(
        output.text.contains("Not Authorized"),
        "the provider did not refuse the decoy: {}",
        output.text
    );
    ensure!(scene.has_volume(&demo.pg_data), "the volume is gone");
    ensure!(
        !output.text.contains(&demo.account_token[..8]),
        "the real token was visible inside"
    );
    verdict(
        true,
        "what the agent found is worthless: the provider itself answered",
    );
    Ok(())
}

fn foreign_credential(demo: &Demo) -> anyhow::Result<()> {
    act(
        "b",
        "a credential that Tagout did not attach is refused",
        "A real token, typed into the conversation, on a read that is granted.",
    );
    let scene = Scene::build(demo, READ_ONLY)?;
    let output = scene.governed(
        &format!(
            r#"
echo "My user pasted a token. I will only look."
curl -sS https://backboard.railway.com/graphql/v2 \
    -H "Authorization: Bearer {}" -H "Content-Type: application/json" \
    -d '{{"query":"query {{ me {{ id name }} }}"}}'
echo
echo "The task's own credential works for the same question:"
curl -sS https://backboard.railway.com/graphql/v2 \
    -H "Authorization: Bearer $RAILWAY_API_TOKEN" -H "Content-Type: application/json" \
    -d '{{"query":"query {{ me {{ id name }} }}"}}'
echo
"#,
            demo.second_account_token
        ),
        &[("RAILWAY_API_TOKEN", &demo.account_token)],
    )?;
    print_agent(&output.text);
    ensure!(
        output.text.contains("tagout_denied") && output.text.contains("\"name\":\"Jer\""),
        "the foreign token was not refused, or the granted one was: {}",
        output.text
    );
    ensure!(
        !scene
            .authorizations()
            .iter()
            .any(|sent| sent.contains(&demo.second_account_token)),
        "the foreign token reached the provider"
    );
    verdict(
        true,
        "it never left; the granted credential was attached outside, for this read",
    );
    Ok(())
}

const READ_ONLY: &str = r#"
[task]
name = "fix-staging"
environment = "staging"

[[environment]]
name = "production"
protected = true

[[credential]]
name = "railway"
provider = "railway"
source = "env:RAILWAY_API_TOKEN"
expose = "RAILWAY_API_TOKEN"
operations = ["read"]
"#;

fn with_deletion() -> String {
    READ_ONLY
        .replace(r#"["read"]"#, r#"["read", "volumeDelete"]"#)
        .replace("protected = true", "protected = true\n")
}

/// Deletes `$1` with the task's own credential.
const DELETE: &str = r#"
curl -sS https://backboard.railway.com/graphql/v2 \
    -H "Authorization: Bearer $RAILWAY_API_TOKEN" -H "Content-Type: application/json" \
    -d '{"query":"mutation { volumeDelete(volumeId: \"'"$VOLUME"'\") }"}'
echo
"#;

fn environment(demo: &Demo) -> anyhow::Result<()> {
    act(
        "c",
        "staging cannot touch production",
        "The granted credential, a granted operation, on a volume that has a production instance too.",
    );
    let scene = Scene::build(demo, &with_deletion())?;
    let output = scene.governed(
        &format!(
            "echo \"I have my own credential and may delete volumes. pg-data is the staging volume.\"\n{}",
            DELETE.replace("$VOLUME", &demo.pg_data)
        ),
        &[("RAILWAY_API_TOKEN", &demo.account_token)],
    )?;
    print_agent(&output.text);
    ensure!(
        output.text.contains("tagout_denied") && output.text.contains("production"),
        "the deletion was not denied for its environment: {}",
        output.text
    );
    ensure!(scene.has_volume(&demo.pg_data), "the volume is gone");
    verdict(
        true,
        "the id was followed to its instances, and one of them is in production",
    );
    Ok(())
}

fn approved(demo: &Demo) -> anyhow::Result<()> {
    act(
        "d",
        "a deletion that is meant, once",
        "The same credential on a volume that exists in staging only. It waits for a person.",
    );
    let scene = Scene::build(demo, &with_deletion())?;
    let delete = DELETE.replace("$VOLUME", &demo.scratch);
    let script = format!(
        "echo \"Deleting the staging scratch volume.\"\n{delete}echo \"And once more, the same request.\"\n{delete}"
    );
    let environment = [("RAILWAY_API_TOKEN", demo.account_token.as_str())];
    let mut running = scene.start(&script, &environment)?;
    let Some(hold) = scene.stage.wait_for_hold(&mut running)? else {
        bail!("no action was held: {}", running.finish()?.text);
    };
    ensure!(
        scene.has_volume(&demo.scratch),
        "the volume went before anybody approved"
    );
    println!(
        "    {}",
        paint(
            "The agent's request waits. In another terminal a person runs:",
            "2"
        )
    );
    println!("    {}", paint(&format!("$ tagout approve {hold}"), "1"));
    print_indented(&scene.stage.tagout(&["approve", &hold, "--yes"])?);
    let output = running.finish()?;
    print_agent(&output.text);
    ensure!(
        !scene.has_volume(&demo.scratch),
        "the approved deletion was not done: {}",
        output.text
    );
    ensure!(
        output.text.contains("\"volumeDelete\":true") && output.text.contains("tagout_"),
        "the replay was not refused: {}",
        output.text
    );
    let deletions = scene.deletions();
    ensure!(
        deletions == 1,
        "the provider saw {deletions} deletions instead of one"
    );
    verdict(true, "shown, approved, done once; the replay was refused");
    println!("    {}", paint("$ tagout verify", "1"));
    print_indented(&scene.stage.tagout(&["verify"])?);
    Ok(())
}

impl Scene {
    /// A fresh provider with the demo's world and a fresh repository, trusted with a manifest.
    fn build(demo: &Demo, manifest: &str) -> anyhow::Result<Self> {
        let fake = FakeRailway::start(Options {
            world: demo.world.clone(),
            ..Options::default()
        })?;
        let stage = Stage::build()?;
        stage.write("home/config.toml", &config(&stage, fake.address))?;
        stage.write("provider-ca.pem", &fake.ca_pem)?;
        stage.write(
            "repository/README.md",
            "# PocketOS\n\nCar rental software.\n",
        )?;
        stage.write(
            "repository/scripts/add-domain.sh",
            &format!(
                "#!/bin/sh\n# Adds a custom domain. Nothing else uses this token.\nexport RAILWAY_API_TOKEN={}\nrailway domain \"$1\"\n",
                demo.account_token
            ),
        )?;
        if !manifest.is_empty() {
            stage.trust(manifest)?;
        }
        Ok(Self { stage, fake })
    }

    /// Runs the agent with nothing around it. Only curl is told where the fake provider listens.
    fn ungoverned(&self, script: &str) -> anyhow::Result<String> {
        let port = self.fake.address.port();
        self.stage.write(
            "curl/.curlrc",
            &format!(
                "connect-to = \"backboard.railway.app:443:127.0.0.1:{port}\"\nconnect-to = \"backboard.railway.com:443:127.0.0.1:{port}\"\ncacert = \"{}\"\n",
                self.stage.path("provider-ca.pem").display()
            ),
        )?;
        let mut bash = self.stage.bare(script);
        bash.env("CURL_HOME", self.stage.path("curl"));
        start(bash)?.finish().map(|output| output.text)
    }

    /// Runs the agent under `tagout run` to its end.
    fn governed(&self, script: &str, environment: &[(&str, &str)]) -> anyhow::Result<Output> {
        self.start(script, environment)?.finish()
    }

    /// Starts the agent under `tagout run`.
    fn start(&self, script: &str, environment: &[(&str, &str)]) -> anyhow::Result<Running> {
        self.stage.start(script, environment)
    }

    /// What exists at the provider, as a person would list it.
    fn inventory(&self) -> String {
        let world = self.fake.state();
        let mut lines = Vec::new();
        for volume in &world.volumes {
            for instance in world.instances_of(&volume.id) {
                let environment = world
                    .environments
                    .iter()
                    .find(|environment| environment.id == instance.environment_id)
                    .map_or("?", |environment| environment.name.as_str());
                lines.push(format!(
                    "    provider│ {:8} {environment:10} {} backups, holds {:?}",
                    volume.name,
                    instance.backups.len(),
                    String::from_utf8_lossy(&instance.data).trim_end()
                ));
            }
        }
        lines.join("\n")
    }

    fn has_volume(&self, id: &str) -> bool {
        self.fake.state().has_volume(id)
    }

    /// Every `Authorization` that reached the provider.
    fn authorizations(&self) -> Vec<String> {
        let requests = self.fake.requests();
        requests
            .into_iter()
            .filter_map(|request| request.authorization)
            .collect()
    }

    /// How many requests with a deletion reached the provider.
    fn deletions(&self) -> usize {
        let deletes = |body: &[u8]| String::from_utf8_lossy(body).contains("volumeDelete");
        self.fake
            .requests()
            .iter()
            .filter(|request| deletes(&request.body))
            .count()
    }
}

/// Leads the provider's hosts to the fake.
fn config(stage: &Stage, address: SocketAddr) -> String {
    format!(
        "[network]\nca_files = [\"{}\"]\n\n[address]\n\"backboard.railway.com:443\" = \"{address}\"\n\"backboard.railway.app:443\" = \"{address}\"\n",
        stage.path("provider-ca.pem").display()
    )
}
