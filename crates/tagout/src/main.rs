//! The command line: parse, run, exit code. Everything that a test would want to reach lives in the
//! crates below; this one wires them together and prints.

mod arguments;
mod command;
mod screen;

use std::process::ExitCode;

use clap::Parser;
use tagout_sandbox::Stage;

use crate::arguments::{Arguments, Command};

/// Tagout itself refused or failed.
const REFUSED: u8 = 125;

fn main() -> ExitCode {
    // The stage of a sandbox is this same program, started anew: nothing else may run before it.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == tagout_sandbox::STAGE_ARGUMENT)
    {
        tagout_sandbox::stage_main_with(tagout_workspace::keeper);
    }
    // git inside a session starts it so, once for each command that looks at files with twins.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == tagout_session::GIT_FILTER_ARGUMENT)
    {
        return ExitCode::from(tagout_session::git_filter_main());
    }
    let stage = stage();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let refusing = matches!(arguments.command, Command::Run(_) | Command::Demo { .. });
    if !refusing {
        // `tagout log | head` ends quietly, like every other lister.
        tagout_sandbox::end_on_broken_pipe();
    }
    match run(arguments.command, stage) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            screen::error(&error);
            ExitCode::from(if refusing { REFUSED } else { 1 })
        }
    }
}

/// Prints help, version or what is wrong with the command line. `tagout run` never exits with a status
/// that a command could have had.
fn usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell when standard error is closed.
    let _ = error.print();
    let is_run = std::env::args_os().nth(1).is_some_and(|word| word == "run");
    match (error.use_stderr(), is_run) {
        (false, _) => ExitCode::SUCCESS,
        (true, true) => ExitCode::from(REFUSED),
        (true, false) => ExitCode::from(2),
    }
}

/// The stage of the sandbox that `tagout run` builds, split off before anything was read. Without one it is started when it is needed.
fn stage() -> Option<Stage> {
    let is_run = std::env::args_os().nth(1).is_some_and(|word| word == "run");
    // Inside a session the command is executed by this very process, which must have no child then.
    if !is_run || tagout_session::is_governed() {
        return None;
    }
    Stage::split_off(tagout_workspace::keeper).ok()
}

fn run(command: Command, stage: Option<Stage>) -> anyhow::Result<u8> {
    match command {
        Command::Init { probe, yes } => command::init::init(probe, yes),
        Command::Run(options) => command::run::run(options, stage),
        Command::Trust { digest, file } => command::trust::trust(digest, file),
        Command::Holds { json, watch } => command::holds::list(json, watch),
        Command::Approve { id, yes } => command::holds::approve(&id, yes),
        Command::Deny { id, reason } => command::holds::deny(&id, reason),
        Command::Sessions { json } => command::sessions::list(json),
        Command::Kill { id } => command::sessions::kill(&id),
        Command::Undo(options) => command::undo::undo(&options),
        Command::Log { id, json, follow } => command::ledger::log(id, json, follow),
        Command::Verify {
            what,
            key,
            checkpoint,
        } => command::ledger::verify(what, key, checkpoint),
        Command::Check(options) => command::check::check(options),
        Command::Secrets { command } => command::secrets::secrets(command),
        Command::Vault { command } => command::vault::vault(command),
        Command::Policy { command } => command::policy::policy(command),
        Command::Approver { command } => command::approver::approver(command),
        Command::Serve { listen } => command::serve::serve(&listen),
        Command::Doctor { install_profile } => command::doctor::doctor(install_profile),
        Command::Demo { name } => command::demo::demo(&name),
    }
}
