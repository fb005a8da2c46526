//! Serves the world of the incident until it is interrupted, for trying it by hand with curl or with
//! Railway's own command line:
//!
//! ```text
//! cargo run -p tagout-fake-railway --example serve -- ca.pem
//! ```
//!
//! writes the certificate authority to `ca.pem` and prints where to connect and with which tokens.

use std::io::Read as _;

use tagout_fake_railway::{Demo, FakeRailway, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).unwrap_or_else(|| "ca.pem".into());
    let demo = Demo::new();
    let fake = FakeRailway::start(Options {
        world: demo.world.clone(),
        ..Options::default()
    })?;
    std::fs::write(&file, &fake.ca_pem)?;
    println!("address={}", fake.address);
    println!("ca={file}");
    println!("account_token={}", demo.account_token);
    println!("staging_token={}", demo.staging_token);
    println!("project={}", demo.project);
    println!("production={}", demo.production);
    println!("staging={}", demo.staging);
    println!("api={}", demo.api);
    println!("postgres={}", demo.postgres);
    println!("pg_data={}", demo.pg_data);
    println!("scratch={}", demo.scratch);
    println!("# runs until its input ends");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    for request in fake.requests() {
        println!("{} {} {}", request.status, request.method, request.path);
    }
    Ok(())
}
