//! State of agents on its way in and on its way back, with an agent that tries to get further.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tagout_secrets::DecoyKey;

use super::*;

const ACCESS: &str = "sk-ant-oat01-Kx7vQ2mN8pLr3TzW5yBc9dFg1hJk4sA6-AA";
const REFRESH: &str = "sk-ant-ort01-pLr3TzW5yBc9dFg1hJk4sA6Kx7vQ2mN8-AA";
const MCP_TOKEN: &str = "ghp_q8ZtWc5RyVb2NmLk7JhGf4DsAp0oIu3Qu0ky";

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["home", "session", "kept", "work"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path("home").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path("home").join(name)).ok()
    }

    fn bring(&self, profile: &str) -> (Places, Brought) {
        let home = self.path("home");
        let variable = |name: &str| match name {
            "HOME" => Some(home.to_str().unwrap().to_owned()),
            "ANTHROPIC_API_KEY" => Some("sk-ant-api03-0pV7mQx2LrT9bYw4HcZs8NkJdFgA5uE1".to_owned()),
            _ => None,
        };
        let profile = tagout_catalog::profile::profile(profile).unwrap();
        let places = Places::new(profile, &variable, vec![self.path("work")]).unwrap();
        let key = DecoyKey::derive(b"install", b"workspace");
        let brought = bring(&places, &variable, &|_| false, &key);
        (places, brought)
    }

    fn lay_out(&self, profile: &str) -> Laid {
        let (places, brought) = self.bring(profile);
        Laid::out(places, &brought, &self.path("session"), &self.path("kept")).unwrap()
    }

    /// Where the agent sees `~/.claude`.
    fn inside(&self) -> PathBuf {
        self.path("session/agent/.claude")
    }

    /// The folder of this workspace's sessions, below `~/.claude`.
    fn project(&self) -> String {
        format!("projects/{}", history::dashed(&self.path("work")))
    }
}

fn all_text(folder: &Path) -> String {
    let files = super::beneath::walk(folder, 10_000);
    let texts = files.iter().map(|file| {
        let bytes = fs::read(folder.join(&file.path)).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    texts.collect::<Vec<_>>().join("\n")
}

#[test]
fn invariant_3_no_credential_of_the_home_is_laid_out() {
    let place = Place::new();
    place.write(
        ".claude/.credentials.json",
        &format!(
            r#"{{"claudeAiOauth":{{"accessToken":"{ACCESS}","refreshToken":"{REFRESH}","expiresAt":1,
            "scopes":["user:inference"],"subscriptionType":"max"}},
            "mcpOAuth":{{"s":{{"accessToken":"{MCP_TOKEN}"}}}},"new":"{MCP_TOKEN}"}}"#
        ),
    );
    place.write(
        ".claude.json",
        &format!(
            r#"{{"primaryApiKey":"{ACCESS}","theme":"dark","mcpServers":{{"gh":{{"env":{{"GITHUB_TOKEN":"{MCP_TOKEN}"}}}}}}}}"#
        ),
    );
    place.write(
        ".claude/settings.json",
        &format!(r#"{{"env":{{"GITHUB_TOKEN":"{MCP_TOKEN}"}},"model":"opus"}}"#),
    );
    place.write(".ssh/id_ed25519", "nothing of the agent's");
    let laid = place.lay_out("claude");
    let copies = laid
        .copies
        .iter()
        .map(|copy| String::from_utf8_lossy(&copy.bytes));
    let text = all_text(&place.path("session")) + &copies.collect::<String>();
    for secret in [ACCESS, REFRESH, MCP_TOKEN, "nothing of the agent's"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(!text.contains("mcpOAuth"), "{text}");
    let login: serde_json::Value =
        serde_json::from_slice(&fs::read(place.inside().join(".credentials.json")).unwrap())
            .unwrap();
    let login = &login["claudeAiOauth"];
    assert_eq!(login["subscriptionType"], "max");
    assert!(
        login["accessToken"]
            .as_str()
            .unwrap()
            .starts_with("sk-ant-oat01-")
    );
    assert!(login["expiresAt"].as_u64().unwrap() > 4_000_000_000_000);
    assert!(
        text.contains(r#""theme""#) && text.contains(r#""opus""#),
        "{text}"
    );

    let (_, brought) = place.bring("claude");
    let key = &brought.variables[0];
    assert_eq!(key.0, "ANTHROPIC_API_KEY");
    assert!(key.1.starts_with("sk-ant-api03-") && !key.1.ends_with("5uE1"));
    let names: Vec<_> = brought
        .credentials
        .iter()
        .map(|known| known.name.as_str())
        .collect();
    let expected = [
        "ANTHROPIC_API_KEY",
        "Claude login",
        "Claude login, refresh token",
        "primaryApiKey of claude",
    ];
    assert_eq!(names, expected);
    assert_eq!(brought.sources.len(), names.len());
}

#[test]
fn only_this_workspaces_sessions_go_in_and_additions_come_back() {
    let place = Place::new();
    let project = place.project();
    place.write(&format!(".claude/{project}/a.jsonl"), "{\"n\":1}\n");
    place.write(".claude/projects/-somewhere-else/b.jsonl", "{\"n\":2}\n");
    let laid = place.lay_out("claude");
    let inside = place.inside().join(&project);
    assert!(inside.join("a.jsonl").exists());
    assert!(!place.inside().join("projects/-somewhere-else").exists());

    fs::write(inside.join("a.jsonl"), "{\"n\":1}\n{\"n\":3}\n").unwrap();
    fs::write(inside.join("new.jsonl"), "{\"n\":4}\n").unwrap();
    assert_eq!(laid.give_back(), Vec::<String>::new());
    let host = |name: &str| place.read(&format!(".claude/{project}/{name}"));
    assert_eq!(host("a.jsonl").unwrap(), "{\"n\":1}\n{\"n\":3}\n");
    assert_eq!(host("new.jsonl").unwrap(), "{\"n\":4}\n");
    let mode = fs::metadata(
        place
            .path("home")
            .join(format!(".claude/{project}/new.jsonl")),
    );
    assert_eq!(mode.unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn invariant_9_nothing_but_history_comes_back_whatever_the_agent_does() {
    let place = Place::new();
    let project = place.project();
    place.write(
        &format!(".claude/{project}/old.jsonl"),
        "{\"n\":1}\n{\"n\":2}\n",
    );
    place.write(".claude/settings.json", r#"{"model":"opus"}"#);
    place.write("secret.jsonl", "outside\n");
    let laid = place.lay_out("claude");
    let inside = place.inside();
    let folder = inside.join(&project);

    // Settings, hooks, commands, plugins, memory that the host's agent would load.
    for name in [
        "settings.json",
        "settings.local.json",
        "hooks/h.sh",
        "commands/c.md",
        "plugins/p.json",
        "CLAUDE.md",
        ".credentials.json",
        "agents/a.md",
    ] {
        let path = inside.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "evil").unwrap();
    }
    fs::create_dir_all(folder.join("memory")).unwrap();
    fs::write(folder.join("memory/MEMORY.md"), "evil").unwrap();
    // History that is rewritten or emptied, of another workspace, hidden, under odd names.
    fs::write(folder.join("old.jsonl"), "{\"n\":9}\n").unwrap();
    fs::create_dir_all(inside.join("projects/-root-other")).unwrap();
    fs::write(inside.join("projects/-root-other/x.jsonl"), "evil").unwrap();
    fs::write(inside.join("projects/x.jsonl"), "evil").unwrap();
    fs::write(folder.join(".hidden.jsonl"), "evil").unwrap();
    fs::write(folder.join("a b\n.jsonl"), "evil").unwrap();
    // Links, to a file and to a folder of the host.
    symlink(place.path("home/secret.jsonl"), folder.join("link.jsonl")).unwrap();
    symlink(place.path("home"), folder.join("folder")).unwrap();

    let left = laid.give_back().join("\n");
    assert!(
        left.contains("old.jsonl") && left.contains("-root-other"),
        "{left}"
    );
    let home = all_text(&place.path("home"));
    assert!(!home.contains("evil"), "{home}");
    let host = |name: &str| place.read(&format!(".claude/{project}/{name}"));
    assert_eq!(host("old.jsonl").unwrap(), "{\"n\":1}\n{\"n\":2}\n");
    assert_eq!(host("link.jsonl"), None);
    assert_eq!(
        place.read(".claude/settings.json").unwrap(),
        r#"{"model":"opus"}"#
    );
}

#[test]
fn invariant_9_a_link_in_the_hosts_own_history_is_not_followed() {
    let place = Place::new();
    let project = place.project();
    let laid = place.lay_out("claude");
    let folder = place.inside().join(&project);
    fs::create_dir_all(folder.join("sub")).unwrap();
    fs::write(folder.join("sub/x.jsonl"), "new").unwrap();
    fs::create_dir_all(place.path("home").join(".claude").join(&project)).unwrap();
    let link = place
        .path("home")
        .join(".claude")
        .join(&project)
        .join("sub");
    symlink(place.path("work"), link).unwrap();
    assert_eq!(laid.give_back().len(), 1);
    assert!(!place.path("work/x.jsonl").exists());
}

#[test]
fn invariant_9_a_folder_that_is_kept_cannot_turn_a_file_of_ours_elsewhere() {
    let place = Place::new();
    place.write(
        ".local/share/opencode/auth.json",
        r#"{"anthropic":{"type":"api","key":"sk-ant-api03-0pV7mQx2LrT9bYw4HcZs8NkJdFgA5uE1"}}"#,
    );
    place.lay_out("opencode");
    let kept = place.path("kept/.local/share/opencode");
    assert!(kept.join("auth.json").exists());
    fs::write(kept.join("opencode.db"), "of the agent").unwrap();
    fs::remove_file(kept.join("auth.json")).unwrap();
    place.write("victim", "as it was");
    symlink(place.path("home/victim"), kept.join("auth.json")).unwrap();
    place.lay_out("opencode");
    assert_eq!(place.read("victim").unwrap(), "as it was");
    assert!(
        !fs::symlink_metadata(kept.join("auth.json"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(
        fs::read_to_string(kept.join("opencode.db")).unwrap(),
        "of the agent"
    );
    assert!(place.read(".local/share/opencode/opencode.db").is_none());
}

#[test]
fn sessions_are_told_by_their_first_line_and_by_a_root_file() {
    let place = Place::new();
    let work = place.path("work");
    let line = |folder: &Path| format!("{{\"payload\":{{\"cwd\":\"{}\"}}}}\n", folder.display());
    let name = |n: u32| format!(".codex/sessions/2026/11/22/rollout-{n}.jsonl");
    place.write(&name(1), &line(&work));
    place.write(&name(2), &line(Path::new("/elsewhere")));
    place.write(&name(3), &line(&work.join("../../etc")));
    let laid = place.lay_out("codex");
    let day = place.path("session/agent/.codex/sessions/2026/11/22");
    assert_eq!(fs::read_dir(&day).unwrap().count(), 1);
    fs::write(day.join("rollout-4.jsonl"), line(&work) + "{}\n").unwrap();
    fs::write(day.join("rollout-5.jsonl"), line(Path::new("/elsewhere"))).unwrap();
    assert_eq!(laid.give_back().len(), 1);
    assert!(place.read(&name(4)).is_some());
    assert!(place.read(&name(5)).is_none());

    let chat = |slug: &str| format!(".gemini/tmp/{slug}/chats/session-1.json");
    place.write(&chat("other"), "{}");
    place.write(".gemini/tmp/other/.project_root", "/elsewhere");
    let laid = place.lay_out("gemini");
    let tmp = place.path("session/agent/.gemini/tmp");
    assert!(!tmp.join("other").exists());
    for slug in ["work", "other"] {
        fs::create_dir_all(tmp.join(slug).join("chats")).unwrap();
        fs::write(tmp.join(slug).join("chats/session-1.json"), "{\"new\":1}").unwrap();
        fs::write(tmp.join(slug).join(".project_root"), work.to_str().unwrap()).unwrap();
    }
    assert_eq!(laid.give_back().len(), 1);
    assert_eq!(place.read(&chat("other")).unwrap(), "{}");
    assert_eq!(place.read(&chat("work")).unwrap(), "{\"new\":1}");
    let root = place.read(".gemini/tmp/work/.project_root").unwrap();
    assert_eq!(Path::new(&root), work);
}

#[test]
fn switches_of_the_agents_own_are_set_in_its_settings() {
    let place = Place::new();
    place.write(
        ".codex/config.toml",
        "model = \"gpt\"\nsandbox_mode = \"workspace-write\"\n[analytics]\nother = 1\n",
    );
    place.lay_out("codex");
    let text = fs::read_to_string(place.path("session/agent/.codex/config.toml")).unwrap();
    let settings: toml::Table = toml::from_str(&text).unwrap();
    assert_eq!(
        settings["sandbox_mode"].as_str(),
        Some("danger-full-access")
    );
    assert_eq!(settings["model"].as_str(), Some("gpt"));
    assert_eq!(settings["analytics"]["enabled"].as_bool(), Some(false));
    assert_eq!(settings["analytics"]["other"].as_integer(), Some(1));
    assert!(
        place
            .read(".codex/config.toml")
            .unwrap()
            .contains("workspace-write")
    );
}
