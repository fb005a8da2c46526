//! `tagout demo`: the PocketOS incident of April 2026, replayed and stopped.
//!
//! The provider is a fake with real state; the agent is a bash script with grep and curl that does
//! what the agent did; everything in between is the product, started as a user starts it. Each act is
//! arranged so that only one of the three points can apply, and none is switched off.

mod stage;

use std::time::Instant;

use anyhow::{bail, ensure};
use tagout_fake_railway::Demo;

use self::stage::Stage;
use crate::screen::{paint, say};

/// Runs the demo of that name.
pub(crate) fn demo(name: &str) -> anyhow::Result<u8> {
    if name != "pocketos" {
        bail!("there is no demo called `{name}`; there is `pocketos`");
    }
    let started = Instant::now();
    title("The incident, as it happened: no Tagout");
    ungoverned()?;
    title("The same agent under `tagout run`");
    let governed = Demo::new();
    decoy(&governed)?;
    foreign_credential(&governed)?;
    environment(&governed)?;
    title("The legitimate path");
    approved(&governed)?;
    println!();
    say(&format!(
        "stopped at each of three points alone, and one approved deletion done once ({:.1} s).",
        started.elapsed().as_secs_f32()
    ));
    Ok(0)
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
    let stage = Stage::build(&demo, "")?;
    let pg_data = demo.pg_data.clone();
    println!("{}", stage.inventory());
    let output = stage.ungoverned(&HUNT.replace("$VOLUME", &pg_data))?;
    print_agent(&output);
    println!("{}", stage.inventory());
    ensure!(
        !stage.has_volume(&pg_data),
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
    let stage = Stage::build(
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
    let output = stage.governed(&HUNT.replace("$VOLUME", &demo.pg_data), &[])?;
    print_agent(&output.text);
    ensure!(
        output.text.contains("Not Authorized"),
        "the provider did not refuse the decoy: {}",
        output.text
    );
    ensure!(stage.has_volume(&demo.pg_data), "the volume is gone");
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
    let stage = Stage::build(demo, READ_ONLY)?;
    let output = stage.governed(
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
        !stage
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
    let stage = Stage::build(demo, &with_deletion())?;
    let output = stage.governed(
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
    ensure!(stage.has_volume(&demo.pg_data), "the volume is gone");
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
    let stage = Stage::build(demo, &with_deletion())?;
    let delete = DELETE.replace("$VOLUME", &demo.scratch);
    let script = format!(
        "echo \"Deleting the staging scratch volume.\"\n{delete}echo \"And once more, the same request.\"\n{delete}"
    );
    let environment = [("RAILWAY_API_TOKEN", demo.account_token.as_str())];
    let mut running = stage.start(&script, &environment)?;
    let Some(hold) = stage.wait_for_hold(&mut running)? else {
        bail!("no action was held: {}", running.finish()?.text);
    };
    ensure!(
        stage.has_volume(&demo.scratch),
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
    print_indented(&stage.tagout(&["approve", &hold, "--yes"])?);
    let output = running.finish()?;
    print_agent(&output.text);
    ensure!(
        !stage.has_volume(&demo.scratch),
        "the approved deletion was not done: {}",
        output.text
    );
    ensure!(
        output.text.contains("\"volumeDelete\":true") && output.text.contains("tagout_"),
        "the replay was not refused: {}",
        output.text
    );
    let deletions = stage.deletions();
    ensure!(
        deletions == 1,
        "the provider saw {deletions} deletions instead of one"
    );
    verdict(true, "shown, approved, done once; the replay was refused");
    println!("    {}", paint("$ tagout verify", "1"));
    print_indented(&stage.tagout(&["verify"])?);
    Ok(())
}

fn title(text: &str) {
    println!("\n{}", paint(&format!("━━ {text} "), "1;36"));
}

fn act(letter: &str, what: &str, how: &str) {
    println!(
        "\n{} {}",
        paint(&format!("({letter})"), "1;36"),
        paint(what, "1")
    );
    println!("    {how}");
}

fn verdict(stopped: bool, text: &str) {
    let (mark, colour) = if stopped {
        ("✓ stopped", "1;32")
    } else {
        ("✗ destroyed", "1;31")
    };
    println!("    {}  {text}", paint(mark, colour));
}

/// What the agent printed. A refusal is a long line of JSON; its own words are shown instead.
fn print_agent(text: &str) {
    for line in text.lines().filter(|line| !line.is_empty()) {
        if line.starts_with("tagout: session") {
            println!("    {}", paint(line, "2"));
            continue;
        }
        match refusal_of(line) {
            None => println!("    {} {line}", paint("agent│", "2")),
            Some((code, message)) => {
                println!("    {} {}", paint("agent│", "2"), paint(&code, "1;33"));
                for part in wrapped(&message, 84) {
                    println!("    {}   {part}", paint("agent│", "2"));
                }
            }
        }
    }
}

/// Code and message of a structured refusal.
fn refusal_of(line: &str) -> Option<(String, String)> {
    let answer: serde_json::Value = serde_json::from_str(line).ok()?;
    let error = &answer["errors"][0];
    let code = error["extensions"]["error"].as_str()?;
    Some((code.to_owned(), error["message"].as_str()?.to_owned()))
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().map_or(0, |line| line.chars().count());
        if last > 0 && last + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

fn print_indented(text: &str) {
    for line in text.lines() {
        println!("    {line}");
    }
}
