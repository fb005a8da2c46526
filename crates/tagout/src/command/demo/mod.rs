//! `tagout demo`: what went wrong elsewhere, replayed and stopped.

mod database;
mod pocketos;
mod server;
mod stage;
mod telling;

use std::time::Instant;

use anyhow::bail;

use crate::screen::say;

/// Runs the demo of that name.
pub(crate) fn demo(name: &str) -> anyhow::Result<u8> {
    let started = Instant::now();
    let outcome = match name {
        "pocketos" => pocketos::play()?,
        "database" => database::play()?,
        _ => bail!("there is no demo called `{name}`; there are `pocketos` and `database`"),
    };
    println!();
    say(&format!(
        "{outcome} ({:.1} s).",
        started.elapsed().as_secs_f32()
    ));
    Ok(0)
}
