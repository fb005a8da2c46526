//! `tagout doctor`.

use tagout_sandbox::{Needed, Outcome, probe};

use crate::screen::paint;

pub(crate) fn doctor() -> anyhow::Result<u8> {
    let mut broken = false;
    for probe in probe(None)? {
        match (&probe.outcome, probe.needed) {
            (Outcome::Works, _) => println!("{}  {}", paint("works  ", "32"), probe.name),
            (Outcome::Missing { why, mend }, Needed::Required) => {
                broken = true;
                println!("{}  {}: {why}", paint("missing", "1;31"), probe.name);
                println!("         {mend}");
            }
            (Outcome::Missing { why, mend }, Needed::Optional) => {
                println!("{}  {}: {why}", paint("absent ", "33"), probe.name);
                println!("         {mend}");
            }
        }
    }
    if broken {
        println!("\nTagout cannot keep its promises here, and `tagout run` will refuse.");
    }
    Ok(u8::from(broken))
}
