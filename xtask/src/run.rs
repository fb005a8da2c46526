//! The chores themselves, each a list of commands that is read from top to bottom.
//!
//! Every command inherits the terminal, has no standard input (an agent that reads it would wait for
//! ever), and ends the chore when it fails.

use crate::{package, retrieval, tools};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Installs what tests need, builds the binary they start, and runs every test of the workspace.
///
/// Tests that start the binary as root carry `as_root` in their name; they are left out for an
/// ordinary user, who cannot run them. Root runs both halves: the tests make themselves an ordinary
/// user for the other one.
pub(crate) fn test(arguments: &[String]) -> Result<()> {
    tools::install_debian_packages(tools::TEST_PACKAGES)?;
    tools::install_postgres()?;
    tools::install_mariadb()?;
    tools::install_agents()?;
    tools::install_clients()?;
    tools::install_database_clients()?;
    let railway = tools::install_railway()?;
    let retrieval = retrieval::install()?;
    let nextest = tools::install_nextest()?;

    succeed(cargo().args(["build", "--locked", "--package", "tagout"]))?;
    let binary = target().join("debug/tagout");
    let package = package::pack(&binary, package::Compression::Quick)?;
    let mut run = cargo();
    run.args(["nextest", "run", "--workspace", "--locked"]);
    if !tools::is_root() {
        run.args(["-E", "not test(as_root)"]);
    }
    run.args(arguments)
        .env("TAGOUT_BINARY", binary)
        .env("TAGOUT_PACKAGE", package)
        .env("TAGOUT_TEST_RAILWAY", railway)
        .env("TAGOUT_TEST_RETRIEVAL", retrieval)
        .env("TAGOUT_TEST_AGENTS", tools::agents_folder());
    if let Some(folder) = nextest {
        run.env("PATH", path_with(&folder)?);
    }
    succeed(&mut run)
}

/// Runs PostgreSQL's own regression SQL directly and through the gate, and compares: the files that are named,
/// or a part of all, or with `all` everything. No chore of every day: source packages are not at hand
/// everywhere.
pub(crate) fn regression(files: &[String]) -> Result<()> {
    tools::install_debian_packages(tools::TEST_PACKAGES)?;
    tools::install_postgres()?;
    tools::install_regression_sql()?;
    let nextest = tools::install_nextest()?;
    succeed(cargo().args(["build", "--locked", "--package", "tagout"]))?;
    let mut run = cargo();
    run.args(["nextest", "run", "--locked", "--package", "tagout-tests"])
        .args(["--test", "postgres_regression", "--run-ignored", "all"])
        .env("TAGOUT_BINARY", target().join("debug/tagout"));
    if !files.is_empty() {
        run.env("TAGOUT_REGRESSION", files.join(" "));
    }
    if let Some(folder) = nextest {
        run.env("PATH", path_with(&folder)?);
    }
    succeed(&mut run)
}

/// What a change has to pass. The quick judges come first, the tests last.
pub(crate) fn ci() -> Result<()> {
    succeed(cargo().args(["fmt", "--all", "--check"]))?;
    let deny = tools::install_deny()?;
    succeed(
        Command::new(deny)
            .args(["--all-features", "check"])
            .args(["bans", "licenses", "sources"])
            .current_dir(root()),
    )?;
    succeed(
        cargo()
            .args(["clippy", "--workspace", "--all-targets", "--locked"])
            .args(["--", "-D", "warnings"]),
    )?;
    test(&[])
}

/// Runs a command to its end; its failure is ours and names it.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    eprintln!("xtask: {shown}");
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// The repository's root: the folder above this crate.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// The cargo that runs this task, in the repository's root.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

fn path_with(folder: &Path) -> Result<std::ffi::OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).context("PATH has a folder with a colon in its name")
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
