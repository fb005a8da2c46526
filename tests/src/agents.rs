//! The real agents, as `cargo xtask test` installed them, run headless.
//!
//! Each is put where a user would have it, in `~/.local`, and given a task by its command line. The
//! scripted model decides what it does, so the task's text does not matter.

use crate::World;
use crate::identity::{Identity, Tokens, now};
use serde_json::json;
use std::path::{Path, PathBuf};

/// An agent that tests run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    /// Claude Code, of npm's `@anthropic-ai/claude-code`.
    Claude,
    /// Codex, of npm's `@openai/codex`.
    Codex,
    /// Gemini CLI, of npm's `@google/gemini-cli`.
    Gemini,
    /// opencode, of npm's `opencode-ai`.
    Opencode,
    /// GitHub Copilot CLI, of npm's `@github/copilot`. It keeps its login in a keyring, so tests give it
    /// a token in the environment.
    Copilot,
}

/// How a run goes about its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Talk {
    /// It begins one.
    Begins,
    /// It goes on with the last one.
    GoesOn,
}

const TASK: &str = "Find-the-answer.";

impl Agent {
    /// Its command's name.
    pub fn name(self) -> &'static str {
        match self {
            Agent::Claude => "claude",
            Agent::Codex => "codex",
            Agent::Gemini => "gemini",
            Agent::Opencode => "opencode",
            Agent::Copilot => "copilot",
        }
    }

    /// The host that its model lives on, for who has a key.
    pub fn model_host(self) -> &'static str {
        match self {
            Agent::Claude | Agent::Opencode => "api.anthropic.com",
            Agent::Codex => "api.openai.com",
            Agent::Gemini => "generativelanguage.googleapis.com",
            Agent::Copilot => "api.individual.githubcopilot.com",
        }
    }

    /// The hosts that it speaks to with a key.
    pub fn hosts(self) -> Vec<&'static str> {
        let mut hosts = vec![self.model_host()];
        // It asks there where its model lives.
        hosts.extend((self == Agent::Copilot).then_some("api.github.com"));
        hosts
    }

    /// The hosts that it speaks to when it is logged in, its token endpoint among them.
    pub fn login_hosts(self) -> &'static [&'static str] {
        match self {
            Agent::Claude => &["api.anthropic.com", "platform.claude.com"],
            Agent::Codex | Agent::Opencode => &["chatgpt.com", "auth.openai.com"],
            Agent::Gemini => &[
                "cloudcode-pa.googleapis.com",
                "oauth2.googleapis.com",
                "www.googleapis.com",
            ],
            Agent::Copilot => no_login_file(),
        }
    }

    /// What its tokens look like.
    pub fn tokens(self) -> Tokens {
        match self {
            Agent::Claude => Tokens::Anthropic,
            Agent::Codex | Agent::Opencode => Tokens::OpenAi,
            Agent::Gemini => Tokens::Google,
            Agent::Copilot => no_login_file(),
        }
    }

    /// The file of its login, in the home.
    pub fn login_file(self) -> &'static str {
        match self {
            Agent::Claude => ".claude/.credentials.json",
            Agent::Codex => ".codex/auth.json",
            Agent::Gemini => ".gemini/oauth_creds.json",
            Agent::Opencode => ".local/share/opencode/auth.json",
            Agent::Copilot => no_login_file(),
        }
    }

    /// Writes the files that the agent itself writes when a person logs in. The access token expired
    /// a minute ago.
    pub fn log_in(self, world: &World, identity: &Identity) {
        let (access, refresh, id) = identity.tokens();
        let expired = now() - 60;
        let file = match self {
            Agent::Claude => json!({"claudeAiOauth": {
                "accessToken": access, "refreshToken": refresh, "expiresAt": expired * 1000,
                "scopes": ["user:inference", "user:profile"], "subscriptionType": "max",
            }}),
            Agent::Codex => json!({
                "OPENAI_API_KEY": null,
                "tokens": {
                    "id_token": id, "access_token": access, "refresh_token": refresh,
                    "account_id": "acc-1",
                },
                "last_refresh": "2026-11-22T00:00:00Z",
            }),
            Agent::Gemini => json!({
                "access_token": access, "refresh_token": refresh, "id_token": id,
                "scope": "https://www.googleapis.com/auth/cloud-platform", "token_type": "Bearer",
                "expiry_date": expired * 1000,
            }),
            Agent::Opencode => json!({"openai": {
                "type": "oauth", "access": access, "refresh": refresh, "expires": expired * 1000,
                "accountId": "acc-1",
            }}),
            Agent::Copilot => no_login_file(),
        };
        world.write_home(self.login_file(), &file.to_string());
        if self == Agent::Claude {
            let settings = json!({
                "hasCompletedOnboarding": true, "numStartups": 3,
                "oauthAccount": {
                    "accountUuid": "11111111-2222-4333-8444-555555555555",
                    "emailAddress": "person@example.com",
                    "organizationUuid": "99999999-2222-4333-8444-555555555555",
                },
            });
            world.write_home(".claude.json", &settings.to_string());
        }
        if self == Agent::Gemini {
            let settings = json!({"security": {"auth": {"selectedType": "oauth-personal"}}});
            world.write_home(".gemini/settings.json", &settings.to_string());
        }
    }

    /// The refresh token in the host's file.
    pub fn refresh_token(self, world: &World) -> String {
        let text = std::fs::read_to_string(world.home().join(self.login_file()));
        let file: serde_json::Value = serde_json::from_str(&text.expect("the file")).expect("JSON");
        let field = match self {
            Agent::Claude => &file["claudeAiOauth"]["refreshToken"],
            Agent::Codex => &file["tokens"]["refresh_token"],
            Agent::Gemini => &file["refresh_token"],
            Agent::Opencode => &file["openai"]["refresh"],
            Agent::Copilot => no_login_file(),
        };
        field.as_str().expect("a token").to_owned()
    }

    /// The access token in the host's file.
    pub fn access_token(self, world: &World) -> String {
        let text = std::fs::read_to_string(world.home().join(self.login_file()));
        let file: serde_json::Value = serde_json::from_str(&text.expect("the file")).expect("JSON");
        let field = match self {
            Agent::Claude => &file["claudeAiOauth"]["accessToken"],
            Agent::Codex => &file["tokens"]["access_token"],
            Agent::Gemini => &file["access_token"],
            Agent::Opencode => &file["openai"]["access"],
            Agent::Copilot => no_login_file(),
        };
        field.as_str().expect("a token").to_owned()
    }

    /// The variable that holds its model's key.
    pub fn key_variable(self) -> &'static str {
        match self {
            Agent::Claude | Agent::Opencode => "ANTHROPIC_API_KEY",
            Agent::Codex => "OPENAI_API_KEY",
            Agent::Gemini => "GEMINI_API_KEY",
            Agent::Copilot => "COPILOT_GITHUB_TOKEN",
        }
    }

    /// A key as its provider makes them.
    pub fn key(self) -> &'static str {
        match self {
            Agent::Claude | Agent::Opencode => "sk-ant-api03-0pV7mQx2LrT9bYw4HcZs8NkJdFgA5uE1",
            Agent::Codex => "sk-proj-0pV7mQx2LrT9bYw4HcZs8NkJdFgA5uE1",
            Agent::Gemini => "AIzaSyB7mQx2LrT9bYw4HcZs8NkJdFgA5uE1xYz",
            Agent::Copilot => "gho_q8ZtWc5RyVb2NmLk7JhGf4DsAp0oIu1yTr3E",
        }
    }

    /// The header field that carries the key, in lower case.
    pub fn key_header(self) -> &'static str {
        match self {
            Agent::Claude | Agent::Opencode => "x-api-key",
            Agent::Codex | Agent::Copilot => "authorization",
            Agent::Gemini => "x-goog-api-key",
        }
    }

    /// Puts the program into `~/.local` of the world's home; the answer is its command's path.
    pub fn install(self, world: &World) -> PathBuf {
        let program = tools().join("node_modules").join(match self {
            Agent::Claude => "@anthropic-ai/claude-code-linux-x64/claude",
            Agent::Codex => "@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex",
            Agent::Gemini => "@google/gemini-cli/bundle",
            Agent::Opencode => "opencode-linux-x64/bin/opencode",
            Agent::Copilot => "@github/copilot-linux-x64/copilot",
        });
        assert!(
            program.exists(),
            "{} is missing; `cargo xtask test` installs it",
            program.display()
        );
        let place = world.home().join(".local/bin").join(self.name());
        if self == Agent::Gemini {
            let folder = world.home().join(".local/lib/gemini-cli/bundle");
            world.place_all(&program, &folder);
            let manifest = program.with_file_name("package.json");
            world.place(&manifest, &folder.with_file_name("package.json"));
            let start = format!(
                "#!/bin/sh\nexec node {}/gemini.js \"$@\"\n",
                folder.display()
            );
            world.write_home(".local/bin/gemini", &start);
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&place, PermissionsExt::from_mode(0o755)).expect("its mode");
        } else {
            world.place(&program, &place);
        }
        place
    }

    /// The command line of a headless run whose model lives at `base`, an origin such as
    /// `https://api.openai.com`. Claude learns it from `ANTHROPIC_BASE_URL` instead.
    pub fn headless(self, base: &str) -> Vec<String> {
        match self {
            Agent::Codex => words(&format!(
                "codex exec --json --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox \
                 -c model=\"scripted\" -c model_provider=\"scripted\" \
                 -c analytics.enabled=false -c features.plugins=false \
                 -c model_providers.scripted.name=\"scripted\" \
                 -c model_providers.scripted.base_url=\"{base}/v1\" \
                 -c model_providers.scripted.env_key=\"OPENAI_API_KEY\" \
                 -c model_providers.scripted.wire_api=\"responses\" {TASK}"
            )),
            _ => self.logged_in(Talk::Begins),
        }
    }

    /// The command line of a headless run with a key in the environment, under the model's real name.
    pub fn with_key(self) -> Vec<String> {
        match self {
            Agent::Opencode => words(&format!(
                "opencode run --model anthropic/claude-sonnet-4-5 {TASK}"
            )),
            _ => self.headless(&format!("https://{}", self.model_host())),
        }
    }

    /// The command line of a headless run as a person has it who is logged in, or has a key in the
    /// environment: nothing says where the model lives.
    pub fn logged_in(self, talk: Talk) -> Vec<String> {
        let goes_on = talk == Talk::GoesOn;
        let line = match self {
            Agent::Claude => format!(
                "claude -p {TASK} {} --allowedTools Bash --output-format stream-json --verbose",
                if goes_on { "--continue" } else { "" }
            ),
            Agent::Codex => format!(
                "codex exec {} --json --skip-git-repo-check -c model=\"gpt-5.2\" {TASK}",
                if goes_on { "resume --last" } else { "" }
            ),
            Agent::Gemini => format!(
                "gemini {} -p {TASK} --approval-mode yolo -m gemini-2.5-flash",
                if goes_on { "--resume latest" } else { "" }
            ),
            Agent::Opencode => format!(
                "opencode run {} --model openai/gpt-5.4 {TASK}",
                if goes_on { "--continue" } else { "" }
            ),
            Agent::Copilot => format!(
                "copilot {} -p {TASK} --allow-all-tools",
                if goes_on { "--continue" } else { "" }
            ),
        };
        words(&line)
    }
}

fn no_login_file() -> ! {
    panic!("Copilot keeps its login in a keyring, and no test gives it another")
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn tools() -> PathBuf {
    match std::env::var_os("TAGOUT_TEST_AGENTS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-tools/npm"),
    }
}
