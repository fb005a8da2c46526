//! `cargo xtask bench [AREA...]`: builds what is measured and what measures, installs the anchors, and
//! lets `tagout-bench` (the crate in `bench/`) measure and write `docs/benchmarks.md`.
//!
//! A timing is never a pass or fail: it is printed and written down for people.

use crate::run::{cargo, root, succeed, target};
use crate::tools;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The anchor that is built: a workspace of its own, since nothing else needs what it depends on.
const HUDSUCKER: &str = "hudsucker-pass-through";

/// Measures the areas that are named, or all.
pub(crate) fn bench(areas: &[String]) -> Result<()> {
    tools::install_debian_packages(tools::BENCH_PACKAGES)?;
    succeed(cargo().args(["build", "--release", "--locked"]).args([
        "--package",
        "tagout",
        "--package",
        "tagout-bench",
    ]))?;
    let anchors = anchors()?;
    succeed(
        Command::new(target().join("release/tagout-bench"))
            .arg("measure")
            .arg(target().join("release/tagout"))
            .arg(root().join("docs/benchmarks.md"))
            .arg(anchors)
            .args(areas)
            // Its own settings must not decide what a session looks like.
            .env_remove("TAGOUT_HOME"),
    )
}

/// The folder with the anchors, each made once.
fn anchors() -> Result<PathBuf> {
    let folder = target().join("bench-anchors");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let hudsucker = folder.join(HUDSUCKER);
    if !hudsucker.exists() {
        let built = target().join("hudsucker");
        succeed(
            cargo()
                .args(["build", "--release", "--locked", "--manifest-path"])
                .arg(root().join("bench/hudsucker/Cargo.toml"))
                .arg("--target-dir")
                .arg(&built),
        )?;
        link(&built.join("release").join(HUDSUCKER), &hudsucker)?;
    }
    link(&tools::install_mitmproxy()?, &folder.join("mitmdump"))?;
    Ok(folder)
}

fn link(program: &Path, at: &Path) -> Result<()> {
    // One of an earlier run may lead elsewhere.
    let _ = std::fs::remove_file(at);
    std::os::unix::fs::symlink(program, at).with_context(|| at.display().to_string())
}
