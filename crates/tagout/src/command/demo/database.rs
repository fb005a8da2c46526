//! A database that an agent may work on: everyday work asks nobody, what destroys waits for a person who
//! sees what it would take, an approval covers what was shown and no more, and what went comes back.
//!
//! The database is a real PostgreSQL, the agent a bash script with psql; everything in between is the
//! product, started as a user starts it.

use anyhow::{Context, bail, ensure};

use super::server::{PASSWORD, Server};
use super::stage::{Running, Stage, start};
use super::telling::{act, print_agent, print_indented, title, verdict};
use crate::screen::paint;

const SCHEMA: &str = "
    CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, city text NOT NULL, is_active bool NOT NULL);
    CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES customers ON DELETE CASCADE, cents int NOT NULL);
    CREATE VIEW revenue AS SELECT city, sum(cents) AS cents FROM orders JOIN customers ON customer = customers.id GROUP BY city;
    INSERT INTO customers SELECT n, 'customer ' || n, (ARRAY['Lyon', 'Graz', 'Turin'])[1 + n % 3], n % 40 <> 0 FROM generate_series(1, 4000) n;
    INSERT INTO orders SELECT n, 1 + n % 4000, n FROM generate_series(1, 12000) n;";

const MANIFEST: &str = r#"
[task]
name = "fix-migration"
environment = "development"

[[database]]
name = "shop"
url = "env:DATABASE_URL"
"#;

/// Everything in the database, in one value.
const FINGERPRINT: &str = "SELECT md5(string_agg(line, ',' ORDER BY line)) FROM (
    SELECT customers::text AS line FROM customers UNION ALL SELECT orders::text FROM orders) lines";

/// Plays it.
pub(super) fn play() -> anyhow::Result<&'static str> {
    title("A migration that does not apply: no Tagout");
    ungoverned()?;
    title("The same agent under `tagout run`");
    let shop = Shop::build()?;
    everyday(&shop)?;
    shown(&shop)?;
    contract(&shop)?;
    way_back(&shop)?;
    Ok("a loss that was shown and denied, one that was taken back, and one that was undone")
}

/// A server, and a repository whose task may use its database.
struct Shop {
    stage: Stage,
    server: Server,
}

impl Shop {
    fn build() -> anyhow::Result<Self> {
        let server = Server::start(SCHEMA)?;
        let mut stage = Stage::build()?;
        stage.export("DATABASE_URL", &server.url());
        let path = std::env::var("PATH").unwrap_or_default();
        stage.export("PATH", &format!("{}:{path}", server.programs().display()));
        Ok(Self { stage, server })
    }

    fn inventory(&self) -> anyhow::Result<()> {
        for table in ["customers", "orders"] {
            let rows = match self.count(table)? {
                Some(rows) => format!("{rows} rows"),
                None => "gone".to_owned(),
            };
            println!("    {} {table:9} {rows}", paint("database│", "2"));
        }
        Ok(())
    }

    /// The rows of a table, where it is there.
    fn count(&self, table: &str) -> anyhow::Result<Option<u64>> {
        let there = self
            .server
            .sql(&format!("SELECT to_regclass('{table}') IS NOT NULL"))?;
        if there != "t" {
            return Ok(None);
        }
        let rows = self.server.sql(&format!("SELECT count(*) FROM {table}"))?;
        Ok(Some(rows.parse()?))
    }

    fn run(&self, script: &str) -> anyhow::Result<String> {
        let output = self.stage.start(script, &[])?.finish()?;
        print_agent(&output.text);
        Ok(output.text)
    }

    /// Starts an agent whose statement is held; what a person is shown is printed.
    fn hold(&self, script: &str) -> anyhow::Result<(Running, String)> {
        let mut running = self.stage.start(script, &[])?;
        let Some(hold) = self.stage.wait_for_hold(&mut running)? else {
            bail!("nothing was held: {}", running.finish()?.text);
        };
        println!(
            "    {}",
            paint(
                "The statement waits. In another terminal a person looks:",
                "2"
            )
        );
        Ok((running, hold))
    }

    /// Runs `tagout` as the operator, and prints both.
    fn operator(&self, arguments: &[&str]) -> anyhow::Result<String> {
        println!(
            "    {}",
            paint(&format!("$ tagout {}", arguments.join(" ")), "1")
        );
        let printed = self.stage.tagout(arguments)?;
        print_indented(&printed);
        Ok(printed)
    }
}

/// What an agent does to a migration that does not apply.
const RESET: &str = r#"
echo "The migration fails on customers. It is only a development database; I start over."
psql -X "$DATABASE_URL" -c 'DROP TABLE customers CASCADE'
"#;

fn ungoverned() -> anyhow::Result<()> {
    let shop = Shop::build()?;
    shop.inventory()?;
    let output = start(shop.stage.bare(RESET))?.finish()?;
    print_agent(&output.text);
    shop.inventory()?;
    ensure!(
        shop.count("customers")?.is_none(),
        "the table is still there, so the replay shows nothing: {}",
        output.text
    );
    verdict(
        false,
        "4,000 customers are gone, and what their orders belonged to",
    );
    Ok(())
}

fn everyday(shop: &Shop) -> anyhow::Result<()> {
    act(
        "a",
        "everyday work asks nobody",
        "The URL that the agent finds leads to the gate and holds a decoy.",
    );
    shop.stage.trust(MANIFEST)?;
    let text = shop.run(
        r#"
echo "DATABASE_URL is $DATABASE_URL"
psql -X -q -t -A "$DATABASE_URL" \
    -c "SELECT 'customers: ' || count(*) FROM customers" \
    -c 'ALTER TABLE customers ADD COLUMN vat_id text' \
    -c "UPDATE customers SET vat_id = 'ATU1' WHERE id = 7 RETURNING 'VAT of ' || name" \
    -c 'CREATE INDEX ON customers (vat_id)'
"#,
    )?;
    ensure!(
        text.contains("customers: 4000") && text.contains("VAT of customer 7"),
        "the agent could not work: {text}"
    );
    ensure!(
        !text.contains(PASSWORD),
        "the real password was visible inside"
    );
    passed("read, altered, changed by key; no question, and no password inside");
    Ok(())
}

fn shown(shop: &Shop) -> anyhow::Result<()> {
    act(
        "b",
        "what it would take is shown",
        "The reset that went through above.",
    );
    let (running, hold) = shop.hold(RESET)?;
    let shown = shop.operator(&["holds"])?;
    ensure!(
        ["customers", "orders", "revenue"]
            .iter()
            .all(|name| shown.contains(name)),
        "not everything that would go was shown: {shown}"
    );
    let printed = shop.operator(&["deny", &hold, "--reason", "migrate it, do not reset it"])?;
    let output = running.finish()?;
    print_agent(&output.text);
    ensure!(
        shop.count("customers")? == Some(4000) && output.text.contains("migrate it"),
        "it was not denied: {printed} {}",
        output.text
    );
    verdict(
        true,
        "every table, row and view that would go was on the screen first",
    );
    Ok(())
}

const CLEAN_UP: &str = r#"
echo "Deleting the customers that are not active."
psql -X "$DATABASE_URL" -c 'DELETE FROM customers WHERE NOT is_active'
"#;

fn contract(shop: &Shop) -> anyhow::Result<()> {
    act(
        "c",
        "an approval covers what was shown",
        "While it waits, an import marks everybody in Lyon as not active.",
    );
    let (running, hold) = shop.hold(CLEAN_UP)?;
    shop.server
        .sql("UPDATE customers SET is_active = false WHERE city = 'Lyon'")?;
    shop.operator(&["approve", &hold, "--yes"])?;
    let output = running.finish()?;
    print_agent(&output.text);
    ensure!(
        shop.count("customers")? == Some(4000) && output.text.contains("ERROR"),
        "more than was shown went: {}",
        output.text
    );
    shop.server
        .sql("UPDATE customers SET is_active = id % 40 <> 0")?;
    verdict(
        true,
        "1,400 rows instead of 100: the server took it all back",
    );
    Ok(())
}

fn way_back(shop: &Shop) -> anyhow::Result<()> {
    act(
        "d",
        "a deletion that is meant, and the way back",
        "The same statement once more, and this time it takes what was shown.",
    );
    let before = shop.server.sql(FINGERPRINT)?;
    let (running, hold) = shop.hold(CLEAN_UP)?;
    shop.operator(&["approve", &hold, "--yes"])?;
    let output = running.finish()?;
    print_agent(&output.text);
    ensure!(
        shop.count("customers")? == Some(3900),
        "the approved deletion was not done: {}",
        output.text
    );
    shop.inventory()?;
    println!("    {}", paint("They were needed after all:", "2"));
    let session = output
        .text
        .split_whitespace()
        .find_map(|word| word.strip_prefix("s-").map(|rest| format!("s-{rest}")))
        .context("the session said no id")?;
    shop.operator(&["undo", &session, "--database"])?;
    shop.inventory()?;
    let after = shop.server.sql(FINGERPRINT)?;
    ensure!(before == after, "not everything is as it was");
    verdict(
        true,
        "customers and their orders are as they were, to the last value",
    );
    shop.operator(&["verify"])?;
    Ok(())
}

fn passed(text: &str) {
    println!("    {}  {text}", paint("✓ passed", "1;32"));
}
