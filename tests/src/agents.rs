//! The real agents, as `cargo xtask test` installed them, run headless.
//!
//! Each is put where a user would have it, in `~/.local/bin`, and given a task by its command line.
//! The scripted model decides what it does, so the task's text does not matter.

use crate::World;
use std::path::{Path, PathBuf};

/// An agent that tests run.
#[derive(Clone, Copy, Debug)]
pub enum Agent {
    /// Claude Code, of npm's `@anthropic-ai/claude-code`.
    Claude,
    /// Codex, of npm's `@openai/codex`.
    Codex,
}

impl Agent {
    /// Its command's name.
    pub fn name(self) -> &'static str {
        match self {
            Agent::Claude => "claude",
            Agent::Codex => "codex",
        }
    }

    /// The host that its model lives on.
    pub fn model_host(self) -> &'static str {
        match self {
            Agent::Claude => "api.anthropic.com",
            Agent::Codex => "api.openai.com",
        }
    }

    /// The variable that holds its model's key.
    pub fn key_variable(self) -> &'static str {
        match self {
            Agent::Claude => "ANTHROPIC_API_KEY",
            Agent::Codex => "OPENAI_API_KEY",
        }
    }

    /// Puts the program into `~/.local/bin` of the world's home; the answer is its path.
    pub fn install(self, world: &World) -> PathBuf {
        let program = tools().join("node_modules").join(match self {
            Agent::Claude => "@anthropic-ai/claude-code-linux-x64/claude",
            Agent::Codex => "@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex",
        });
        assert!(
            program.exists(),
            "{} is missing; `cargo xtask test` installs it",
            program.display()
        );
        let place = world.home().join(".local/bin").join(self.name());
        world.place(&program, &place);
        place
    }

    /// The slot of its model's key, as a manifest writes it.
    pub fn key_slot(self) -> &'static str {
        match self {
            Agent::Claude => "header:x-api-key",
            Agent::Codex => "header:authorization",
        }
    }

    /// The command line of a headless run whose model lives at `base`, an origin such as
    /// `https://api.openai.com`. Claude learns it from `ANTHROPIC_BASE_URL` instead.
    pub fn headless(self, base: &str) -> Vec<String> {
        const TASK: &str = "Find the answer.";
        let words = match self {
            Agent::Claude => {
                "claude -p TASK --allowedTools Bash --output-format stream-json --verbose"
            }
            Agent::Codex => {
                "codex exec --json --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox \
                 -c model=\"scripted\" -c model_provider=\"scripted\" \
                 -c analytics.enabled=false -c features.plugins=false \
                 -c model_providers.scripted.name=\"scripted\" \
                 -c model_providers.scripted.base_url=\"BASE/v1\" \
                 -c model_providers.scripted.env_key=\"OPENAI_API_KEY\" \
                 -c model_providers.scripted.wire_api=\"responses\" TASK"
            }
        };
        words
            .split_whitespace()
            .map(|word| word.replace("BASE", base).replace("TASK", TASK))
            .collect()
    }
}

fn tools() -> PathBuf {
    match std::env::var_os("TAGOUT_TEST_AGENTS") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-tools/npm"),
    }
}
