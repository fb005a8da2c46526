//! One governed run: builds the view, starts the sandbox and the gates, owns their lifetime, tears
//! all of it down; and what other `tagout` commands need of running sessions.
//!
//! What must stay true: nothing of a session is left running or mounted after its end, however it
//! came; whatever fails before the command starts is a refusal, never a run with less.

mod agent_state;
mod appearing;
pub mod archives;
mod caches;
pub mod check;
pub mod control;
mod control_files;
pub mod database_undo;
mod databases;
mod deletions;
mod gates;
mod git_commits;
mod git_credentials;
mod git_filter;
mod git_history;
mod git_identity;
mod git_outside;
mod git_programs;
pub mod history;
mod home;
pub mod init;
mod keys;
mod local_port;
mod login;
mod login_shell;
mod nested;
mod notify;
mod pane;
pub mod probe;
mod profiles;
mod publish;
mod registries;
mod remembered;
mod remotes;
pub mod report;
mod resolver;
mod run;
mod scan;
mod scanned;
mod specify;
mod stand_ins;
mod sweep;
pub mod task;
mod trust_stores;
mod twins;
pub mod undo;
mod variables;
mod vault;
mod view;
mod walk;
mod watcher;
mod withheld;
mod workspace;

pub use git_filter::{GIT_FILTER_ARGUMENT, git_filter_main};
pub use home::{Home, HomeError};
pub use nested::is_governed;
pub use run::{Options, RunError, Screen, run};
pub use scan::{FoundFile, Held, KnownValue, Scan, scan};
pub use sweep::sweep;
pub use workspace::{Git, Workspace, WorkspaceError, homes};
