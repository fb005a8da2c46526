//! The project's chores: `cargo xtask test`, `cargo xtask ci`, `cargo xtask bench`, `cargo xtask package`.
//!
//! A clone needs nothing set up by hand: what a chore needs and the machine lacks is installed first
//! (see [`tools`]), as root with the system's package manager, otherwise by saying in one line what
//! to install. `ci` is all that `.ci/run` does, so that what passes here passes there.

mod bench;
// The program's own table, so that manual and completions cannot differ from it. As a library the program
// would have to be built before every chore.
#[allow(dead_code)]
#[path = "../../crates/tagout/src/arguments.rs"]
mod command_table;
mod licences;
mod package;
mod retrieval;
mod run;
mod secrets;
mod tools;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask <chore>
  test [NEXTEST ARGUMENTS...]  install what the tests need, then run all of them
  ci                           format, dependencies, lints, tests: what a change has to pass
  bench [AREA...]              measure, and write docs/benchmarks.md
  bench retrieval [SET.json]   the same for `tagout serve`; with presidio-research's set, accuracy too
  bench secrets [LEAKY_REPO]   finding credentials beside other scanners; accuracy on a clone of leaky-repo
  regression [all|FILE...]     PostgreSQL's own regression SQL, directly and through the gate
  package [--binary FILE]      the Debian package, in target/package";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let chore = arguments.next();
    let rest: Vec<String> = arguments.collect();
    match (chore.as_deref(), rest.as_slice()) {
        (Some("test"), rest) => run::test(rest),
        (Some("ci"), []) => run::ci(),
        (Some("bench"), [area, set @ ..]) if area == "retrieval" && set.len() <= 1 => {
            retrieval::bench(set.first().map(String::as_str))
        }
        (Some("bench"), [area, clone @ ..]) if area == "secrets" && clone.len() <= 1 => {
            secrets::bench(clone.first().map(String::as_str))
        }
        (Some("bench"), areas) => bench::bench(areas),
        (Some("regression"), files) => run::regression(files),
        (Some("package"), rest) => package::package(rest),
        _ => bail!("{USAGE}"),
    }
}
