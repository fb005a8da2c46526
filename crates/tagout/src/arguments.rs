//! The one table of commands: help, usage errors and parsing come from here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Lockout/tagout for AI agents: what a prompt can only request, this enforces.
#[derive(Parser)]
#[command(name = "tagout", version, about, long_about = None, max_term_width = 100)]
#[command(
    after_help = "Start with:  tagout run -- bash\nand in another terminal:  tagout holds --watch"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Read the workspace and write a tagout.toml for it
    ///
    /// Says which files hold credentials, and whose; guesses environments. What it finds is offered in
    /// comments and granted by nothing but you. Shows the file and asks before it writes; never changes
    /// one that is there.
    Init {
        /// Also ask providers what each credential can really do; sends each to its own provider
        #[arg(long)]
        probe: bool,
        /// Write without asking
        #[arg(long)]
        yes: bool,
    },
    /// Run an agent (or any command) under Tagout
    ///
    /// The command works in the git root around the current folder (or in the folder itself), sees
    /// decoys where secrets were, and reaches only what tagout.toml grants. Exit status is the
    /// command's own, 128+n on a signal; 125 when Tagout itself refused or failed.
    Run(RunArguments),
    /// Accept a manifest or policy after reading what it grants
    Trust {
        /// Accept only if the file has this SHA-256; needs no terminal
        #[arg(long, value_name = "SHA256")]
        digest: Option<String>,
        /// The file; without it, tagout.toml and policy.cedar of the current workspace
        file: Option<PathBuf>,
    },
    /// Actions that wait for a person
    Holds {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        /// Stay, and show new ones as they come
        #[arg(long)]
        watch: bool,
    },
    /// Let one held action through, once
    Approve {
        /// The hold, as `tagout holds` names it
        id: String,
        /// Do not ask; works only while no approver is enrolled
        #[arg(long)]
        yes: bool,
    },
    /// Refuse a held action
    Deny {
        /// The hold, as `tagout holds` names it
        id: String,
        /// What the agent is told
        #[arg(long)]
        reason: Option<String>,
    },
    /// Sessions that run or ran
    Sessions {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// End a session and everything in it, now
    Kill {
        /// The session, as `tagout sessions` names it
        id: String,
    },
    /// Put back what a session changed or destroyed in its workspace
    ///
    /// Without a path, everything. What you changed since stays as it is, and is named.
    Undo(UndoArguments),
    /// What a session did and what was decided about it
    Log {
        /// The session; without it, the newest
        id: Option<String>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        /// Stay, and show entries as they come
        #[arg(long)]
        follow: bool,
    },
    /// Prove that a ledger is complete and unchanged
    Verify {
        /// A session or a ledger file; without it, the newest session
        #[arg(value_name = "ID or PATH")]
        what: Option<String>,
        /// The install's public key, for a ledger from another machine
        #[arg(long, value_name = "K")]
        key: Option<String>,
        /// A file with a signed checkpoint that the ledger must contain
        #[arg(long, value_name = "C")]
        checkpoint: Option<PathBuf>,
    },
    /// What Tagout would decide, without doing it
    ///
    /// Without a manifest, as if every host and credential were granted in the resource's own
    /// environment. Exits 0 allow, 10 hold, 11 deny, 2 usage.
    Check(CheckArguments),
    /// Find credentials
    Secrets {
        #[command(subcommand)]
        command: SecretsCommand,
    },
    /// Stored credentials, and what each can really do
    Vault {
        #[command(subcommand)]
        command: VaultCommand,
    },
    /// Policies beyond the manifest
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Keys of the people who approve
    Approver {
        #[command(subcommand)]
        command: ApproverCommand,
    },
    /// The Pebblo-compatible retrieval API, and retrieval that is enforced
    ///
    /// Labels documents, prompts and answers; says who may retrieve what. Identities, the vector store
    /// behind the proxy and policies: $TAGOUT_HOME/retrieval.toml (docs/pebblo.md).
    Serve {
        /// Where to listen; beyond loopback every request needs the server's token
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
        listen: String,
    },
    /// What this machine can enforce, found out by trying
    ///
    /// Exits 1 where a promise cannot be kept; each line that is not well says the command that mends it.
    Doctor {
        /// As root: write and load the AppArmor profile that Ubuntu 24.04 and later want
        #[arg(long)]
        install_profile: bool,
    },
    /// What went wrong elsewhere, replayed and stopped
    ///
    /// `pocketos`: the incident of April 2026, on an embedded fake of the provider. `database`: what an
    /// agent does to a PostgreSQL, shown, held to what was shown, and undone, on one that is installed
    /// here.
    Demo {
        /// Which one
        #[arg(default_value = "pocketos")]
        name: String,
    },
}

#[derive(Args)]
pub(crate) struct RunArguments {
    /// The manifest; without it, tagout.toml in the workspace, if there is one
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// The folder to work in
    #[arg(long, value_name = "DIR")]
    pub(crate) workspace: Option<PathBuf>,
    /// Another environment of the manifest
    #[arg(long, value_name = "NAME")]
    pub(crate) environment: Option<String>,
    /// The agent's profile, when the command's name does not tell
    #[arg(long, value_name = "PROFILE")]
    pub(crate) agent: Option<String>,
    /// Reach this host too: all methods and paths, inspected, without a credential
    #[arg(long = "allow-host", value_name = "HOST[:PORT]")]
    pub(crate) allow_hosts: Vec<String>,
    /// Show a server that listens inside on this port at 127.0.0.1:PORT of this machine too
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) publish: Vec<u16>,
    /// Seconds that a held request stays open before the agent is told to come back
    #[arg(long, value_name = "SECONDS", default_value_t = 75, value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub(crate) hold_wait: u64,
    /// Show what waits for you in a tmux pane beside the agent, while it runs
    #[arg(long)]
    pub(crate) pane: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

#[derive(Args)]
pub(crate) struct CheckArguments {
    /// The manifest to decide by
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// An HTTP request in a file: request line, header fields, empty line, body
    #[arg(long, value_name = "FILE", conflicts_with = "jsonl")]
    pub(crate) http: Option<PathBuf>,
    /// Read one question a line from standard input, answer one a line
    #[arg(long)]
    pub(crate) jsonl: bool,
    /// A SQL text, as PostgreSQL reads it; --jsonl takes MySQL's and SQLite's too
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["http", "jsonl"])]
    pub(crate) sql: Option<String>,
    /// A command (comes with the commands gate)
    #[arg(last = true, value_name = "CMD", conflicts_with_all = ["http", "jsonl", "sql"])]
    pub(crate) command: Vec<String>,
}

#[derive(Subcommand)]
pub(crate) enum SecretsCommand {
    /// What the detector finds; never prints a value
    Scan {
        /// Where to look
        #[arg(default_value = ".")]
        path: PathBuf,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum VaultCommand {
    /// Store a credential: typed without being shown, or from standard input
    ///
    /// In tagout.toml it is then `source = "vault:NAME"`. The first one asks where the vault's key
    /// shall lie: your desktop's keyring if there is one, else a passphrase, else a file.
    Add {
        /// What to call it
        name: String,
    },
    /// Names and dates; never a value
    List,
    /// Take a credential out, for good
    Remove {
        /// Which one
        name: String,
    },
    /// Ask its provider what the credential can really do
    ///
    /// Sends the credential to the provider that its shape belongs to (Railway, GitHub, Stripe), and to
    /// nobody else. Reads only. Says what could not be found out.
    Probe {
        /// Which one
        name: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// Validate manifest and policy
    Check {
        /// Print the Cedar schema that policies are written against
        #[arg(long)]
        schema: bool,
        /// A policy; without it, policy.cedar and tagout.toml of the current workspace
        file: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub(crate) enum ApproverCommand {
    /// Make a key, sealed by a passphrase
    Enroll {
        /// The approver's name
        name: String,
    },
    /// Who can approve
    List,
}

/// `tagout undo`.
#[derive(Args)]
pub(crate) struct UndoArguments {
    /// The session, as `tagout sessions` names it
    pub(crate) id: String,
    /// Only these files and folders; relative to where you are, else to the workspace
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Show what the session changed, and do nothing
    #[arg(long, conflicts_with_all = ["dry_run", "force"])]
    pub(crate) list: bool,
    /// Show what would be put back, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also put back what you changed since; your change is lost
    #[arg(long)]
    pub(crate) force: bool,
    /// What approved statements took from databases, instead of files
    #[arg(long, conflicts_with = "paths")]
    pub(crate) database: bool,
}
