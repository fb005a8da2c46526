//! What the files of a workspace say about where it runs: environments, local servers, remotes, tools.
//! Read as text with a limit; nothing is executed and no format is trusted to be well-formed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ignore::WalkBuilder;

/// Files that are looked at by name, and how deep.
const MOST_FILES: usize = 50_000;
const DEEPEST: usize = 6;
const LARGEST: u64 = 256 * 1024;

/// A service whose variables are known by name.
pub(super) struct Service {
    /// The credential's name in the manifest.
    pub(super) name: &'static str,
    /// What a person calls it.
    pub(super) title: &'static str,
    /// Beginnings of variables' names.
    variables: &'static [&'static str],
    /// Host and slot; `None` for a provider with a pack of that name.
    pub(super) http: Option<(&'static str, &'static str)>,
}

impl Service {
    /// The service that a variable belongs to.
    pub(super) fn of_variable(variable: &str) -> Option<&'static Self> {
        let variable = variable.to_ascii_uppercase();
        SERVICES.iter().find(|service| {
            service
                .variables
                .iter()
                .any(|prefix| variable.starts_with(prefix))
        })
    }

    pub(super) fn provider(&self) -> &'static str {
        match self.http {
            Some(_) => "http",
            None => self.name,
        }
    }
}

const BEARER: &str = "header:authorization";

const fn over_http(
    name: &'static str,
    title: &'static str,
    variables: &'static [&'static str],
    host: &'static str,
    slot: &'static str,
) -> Service {
    Service {
        name,
        title,
        variables,
        http: Some((host, slot)),
    }
}

/// From each provider's own documentation of its API.
const SERVICES: &[Service] = &[
    Service {
        name: "railway",
        title: "Railway",
        variables: &["RAILWAY_"],
        http: None,
    },
    over_http(
        "stripe",
        "Stripe",
        &["STRIPE_SECRET", "STRIPE_API", "STRIPE_RESTRICTED"],
        "api.stripe.com",
        BEARER,
    ),
    over_http(
        "github",
        "GitHub",
        &["GITHUB_TOKEN", "GITHUB_PAT", "GH_TOKEN"],
        "api.github.com",
        BEARER,
    ),
    over_http(
        "gitlab",
        "GitLab",
        &["GITLAB_TOKEN", "GITLAB_PAT"],
        "gitlab.com",
        "header:private-token",
    ),
    over_http("openai", "OpenAI", &["OPENAI_"], "api.openai.com", BEARER),
    over_http(
        "anthropic",
        "Anthropic",
        &["ANTHROPIC_"],
        "api.anthropic.com",
        "header:x-api-key",
    ),
    over_http(
        "sendgrid",
        "SendGrid",
        &["SENDGRID_"],
        "api.sendgrid.com",
        BEARER,
    ),
    over_http("resend", "Resend", &["RESEND_"], "api.resend.com", BEARER),
    over_http(
        "slack",
        "Slack",
        &["SLACK_BOT_TOKEN", "SLACK_TOKEN"],
        "slack.com",
        BEARER,
    ),
    over_http(
        "cloudflare",
        "Cloudflare",
        &["CLOUDFLARE_API_TOKEN", "CF_API_TOKEN"],
        "api.cloudflare.com",
        BEARER,
    ),
    over_http(
        "vercel",
        "Vercel",
        &["VERCEL_TOKEN"],
        "api.vercel.com",
        BEARER,
    ),
    over_http(
        "netlify",
        "Netlify",
        &["NETLIFY_AUTH_TOKEN"],
        "api.netlify.com",
        BEARER,
    ),
    over_http(
        "heroku",
        "Heroku",
        &["HEROKU_API_KEY"],
        "api.heroku.com",
        BEARER,
    ),
    over_http(
        "digitalocean",
        "DigitalOcean",
        &["DIGITALOCEAN_", "DO_API_TOKEN"],
        "api.digitalocean.com",
        BEARER,
    ),
    over_http(
        "fly",
        "Fly.io",
        &["FLY_API_TOKEN", "FLY_ACCESS_TOKEN"],
        "api.machines.dev",
        BEARER,
    ),
    over_http(
        "sentry",
        "Sentry",
        &["SENTRY_AUTH_TOKEN"],
        "sentry.io",
        BEARER,
    ),
    over_http(
        "supabase",
        "Supabase management",
        &["SUPABASE_ACCESS_TOKEN"],
        "api.supabase.com",
        BEARER,
    ),
    over_http(
        "neon",
        "Neon",
        &["NEON_API_KEY"],
        "console.neon.tech",
        BEARER,
    ),
    over_http(
        "linear",
        "Linear",
        &["LINEAR_API_KEY"],
        "api.linear.app",
        BEARER,
    ),
    over_http(
        "notion",
        "Notion",
        &["NOTION_TOKEN", "NOTION_API_KEY"],
        "api.notion.com",
        BEARER,
    ),
    over_http(
        "datadog",
        "Datadog",
        &["DD_API_KEY", "DATADOG_API_KEY"],
        "api.datadoghq.com",
        "header:dd-api-key",
    ),
];

/// What a name says about an environment.
const ENVIRONMENTS: &[(&str, &[&str])] = &[
    ("production", &["production", "prod", "prd", "live"]),
    ("staging", &["staging", "stage", "stg"]),
    ("preview", &["preview", "preprod"]),
];

/// Images of servers that a compose file starts, with their port.
const SERVERS: &[(&str, u16, &str)] = &[
    ("postgres", 5432, "PostgreSQL"),
    ("redis", 6379, "Redis"),
    ("mysql", 3306, "MySQL"),
    ("mariadb", 3306, "MariaDB"),
    ("mongo", 27017, "MongoDB"),
];

/// Files that mean a package manager.
const TOOLS: &[(&str, &str)] = &[
    ("package.json", "npm"),
    ("Cargo.toml", "cargo"),
    ("pyproject.toml", "pip"),
    ("requirements.txt", "pip"),
    ("go.mod", "go"),
    ("Gemfile", "gem"),
    ("pom.xml", "maven"),
];

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Environments that names hint at, and the first file that does.
    pub(super) environments: BTreeMap<String, String>,
    /// How resources of the providers seen here are written, as examples.
    pub(super) resources: BTreeSet<&'static str>,
    /// Ports of servers that this workspace starts on the machine.
    pub(super) local_ports: BTreeMap<u16, String>,
    /// Hosts of git remotes.
    pub(super) remotes: BTreeSet<String>,
    /// Package managers.
    pub(super) tools: BTreeSet<&'static str>,
}

impl Place {
    pub(super) fn read(workspace: &Path) -> Self {
        let mut place = Self::default();
        let walk = WalkBuilder::new(workspace)
            .standard_filters(false)
            .hidden(false)
            .follow_links(false)
            .max_depth(Some(DEEPEST))
            .sort_by_file_name(Ord::cmp)
            .filter_entry(|entry| {
                let name = entry.file_name();
                ![
                    "node_modules",
                    "target",
                    ".git",
                    ".venv",
                    "vendor",
                    ".terraform",
                ]
                .iter()
                .any(|skipped| name == *skipped)
            })
            .build();
        for entry in walk.flatten().take(MOST_FILES) {
            let Ok(path) = entry.path().strip_prefix(workspace) else {
                continue;
            };
            if entry.file_type().is_some_and(|kind| kind.is_file()) {
                place.look_at(workspace, path);
            }
        }
        place.read_remotes(workspace);
        place
    }

    fn look_at(&mut self, workspace: &Path, path: &Path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let shown = path.display().to_string();
        if let Some((_, tool)) = TOOLS.iter().find(|(file, _)| name == *file) {
            self.tools.insert(tool);
        }
        let deploys = [".tf", ".tfvars", ".yml", ".yaml", ".toml", ".json"]
            .iter()
            .any(|ending| name.ends_with(ending))
            || name.starts_with(".env");
        if deploys {
            self.guess_environment(&shown);
        }
        if name.starts_with("railway.") {
            self.resources.insert("railway:environment/ID");
        }
        let compose = name.starts_with("docker-compose") || name.starts_with("compose.");
        let terraform = name.ends_with(".tf");
        let kubernetes = name == "kubeconfig" || shown.ends_with(".kube/config");
        if !(compose || terraform || kubernetes) {
            return;
        }
        let Some(text) = read(&workspace.join(path)) else {
            return;
        };
        if terraform && text.contains("provider \"aws\"") {
            self.resources.insert("aws:account/ID");
        }
        if kubernetes {
            self.guess_environment_in(&text, &shown);
        }
        if compose {
            let images = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("image:"));
            for image in images {
                let image = image.trim().trim_matches(['"', '\'']);
                let server = SERVERS.iter().find(|(name, _, _)| image.contains(name));
                if let Some((_, port, title)) = server {
                    self.local_ports
                        .entry(*port)
                        .or_insert_with(|| format!("{title} of {shown}"));
                }
            }
        }
    }

    fn guess_environment(&mut self, path: &str) {
        for word in path.split(['/', '.', '-', '_']) {
            self.add_environment(word, path);
        }
    }

    fn guess_environment_in(&mut self, text: &str, path: &str) {
        let names = text
            .lines()
            .filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("name:"));
        for word in names.flat_map(|name| name.split(['/', '.', '-', '_', ':', '@', ' '])) {
            self.add_environment(word, path);
        }
    }

    fn add_environment(&mut self, word: &str, path: &str) {
        let word = word.to_ascii_lowercase();
        let known = ENVIRONMENTS
            .iter()
            .find(|(_, words)| words.contains(&word.as_str()));
        if let Some((name, _)) = known {
            self.environments
                .entry((*name).to_owned())
                .or_insert_with(|| path.to_owned());
        }
    }

    /// Hosts alone: a remote's URL may have a token in it.
    fn read_remotes(&mut self, workspace: &Path) {
        let Some(text) = read(&workspace.join(".git/config")) else {
            return;
        };
        let urls = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("url"))
            .filter_map(|rest| rest.trim_start().strip_prefix('='));
        for url in urls {
            self.remotes.extend(host_of(url.trim()));
        }
    }
}

/// The host of `https://user:token@host:port/path` and of `git@host:path`.
fn host_of(url: &str) -> Option<String> {
    let place = match url.split_once("://") {
        Some((_, rest)) => rest.split('/').next()?,
        None => url.split_once(':')?.0,
    };
    let host = place.rsplit('@').next()?;
    let host = host.split(':').next()?;
    tagout_core::HostName::parse(host)
        .ok()
        .map(|host| host.to_string())
        .filter(|host| host.contains('.'))
}

fn read(path: &Path) -> Option<String> {
    let data = fs::symlink_metadata(path).ok()?;
    (data.is_file() && data.len() <= LARGEST)
        .then(|| fs::read(path).ok())
        .flatten()
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_are_hosts_and_nothing_else() {
        for (url, host) in [
            ("https://me:hunter2@github.com/a/b.git", Some("github.com")),
            ("ssh://git@git.example.com:2222/a", Some("git.example.com")),
            ("git@gitlab.com:a/b.git", Some("gitlab.com")),
            ("/srv/git/a.git", None),
            ("file:///srv/a", None),
            ("../other", None),
        ] {
            assert_eq!(host_of(url).as_deref(), host, "{url}");
        }
    }
}
