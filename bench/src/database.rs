//! pgbench through the PostgreSQL gate, beside nothing, a relay that only copies bytes, and pgbouncer.

use std::fs::OpenOptions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tagout_tests::Person;
use tagout_tests::postgres::{PASSWORD, Postgres, ROLE, programs};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};

use crate::Subject;
use crate::page::{Section, machine};
use crate::process::{Owned, processor_time};
use crate::session::{Generator, Place, await_listening, free_port};

/// Clients of pgbench at once.
const CLIENTS: usize = 8;
/// How long one burst lasts, in seconds.
const SECONDS: usize = 5;
/// Bursts of each subject for each kind.
const ROUNDS: usize = 3;
/// pgbench's scale: 100,000 accounts each.
const SCALE: &str = "5";

/// Disposable: ten thousand updates by key would ask somebody.
const MANIFEST: &str = "[task]\nname = \"bench\"\nenvironment = \"staging\"\n\n[[environment]]\nname = \"staging\"\ndisposable = true\n\n[[database]]\nname = \"app\"\nurl = \"env:DATABASE_URL\"\n";

/// What pgbench does, and its options.
const KINDS: &[(&str, &str)] = &[
    ("one SELECT, as text", "-S -M simple"),
    ("one SELECT, prepared", "-S -M prepared"),
    ("TPC-B: seven statements, as text", "-M simple"),
    ("TPC-B: seven statements, prepared", "-M prepared"),
];

/// A way to the server.
struct Way {
    name: &'static str,
    generator: Generator,
    /// Whose processor time counts.
    process: Option<u32>,
    bursts: Vec<Burst>,
}

#[derive(Clone, Copy)]
struct Burst {
    kind: usize,
    per_second: f64,
    /// Milliseconds.
    latency: f64,
    /// Microseconds a transaction.
    processor: Option<f64>,
}

pub(crate) fn measure(subject: &Subject) -> Result<Section> {
    let machine = machine();
    let server = Postgres::with("SELECT 1", &["shared_buffers = '256MB'"], &[]);
    fill(&server)?;
    let place = Place::new()?;
    let home = place.home("database", MANIFEST)?;
    home.trust(&subject.tagout)?;

    let relay_port = free_port()?;
    let relay = Owned::start(Command::new(std::env::current_exe()?).args([
        "relay",
        &relay_port.to_string(),
        &server.port().to_string(),
    ]))?;
    await_listening(relay_port)?;
    let folder = TempDir::new()?;
    let pooler = pooler(&server, folder.path())?;

    let mut governed = home.command(&subject.tagout);
    governed
        .args(["run", "--", "sh", "-c", &script()])
        .env("DATABASE_URL", server.url("localhost"));
    let governed = Generator::start(&mut governed)?;
    let mut ways = vec![
        Way::new("nothing: directly", beside(server.port())?, None),
        Way::new("a relay of bytes", beside(relay_port)?, Some(relay.id())),
    ];
    if let Some((pooler, port)) = &pooler {
        ways.push(Way::new(
            "pgbouncer, session mode",
            beside(*port)?,
            Some(pooler.id()),
        ));
    }
    let supervisor = governed.id();
    ways.push(Way::new("tagout", governed, Some(supervisor)));
    for _ in 0..ROUNDS {
        for kind in 0..KINDS.len() {
            for way in &mut ways {
                way.burst(kind)?;
            }
        }
    }
    let mut rows = Vec::new();
    for kind in 0..KINDS.len() {
        let relayed = ways[1].processor(kind);
        rows.extend(ways.iter().map(|way| way.row(kind, relayed)));
    }
    Ok(Section {
        title: "PostgreSQL gate",
        about: format!(
            "pgbench, {CLIENTS} clients, a server on the same machine, no TLS, a disposable environment, on {machine}; {ROUNDS} bursts of \
             {SECONDS} s each, in turn, medians. Processor time is the gateway's own, a transaction. Client, \
             gateway and server share the processors, so transactions a second say little."
        ),
        columns: vec![
            "pgbench",
            "through",
            "processor a transaction",
            "over a relay",
            "a second",
            "latency",
        ],
        rows,
    })
}

impl Way {
    fn new(name: &'static str, generator: Generator, process: Option<u32>) -> Self {
        Self {
            name,
            generator,
            process,
            bursts: Vec::new(),
        }
    }

    fn burst(&mut self, kind: usize) -> Result<()> {
        let used = |process: Option<u32>| process.map(processor_time).transpose();
        let before = used(self.process)?;
        let figures = self.generator.run(KINDS[kind].1)?;
        let after = used(self.process)?;
        let number = |name: &str| figures[name].as_f64().unwrap_or_default();
        let transactions = number("transactions");
        ensure!(
            transactions > 0.0,
            "{}: pgbench did nothing: {figures}",
            self.name
        );
        let spent = after
            .zip(before)
            .map(|(after, before): (Duration, _)| after - before);
        self.bursts.push(Burst {
            kind,
            per_second: number("tps"),
            latency: number("latency"),
            processor: spent.map(|spent| spent.as_secs_f64() * 1e6 / transactions),
        });
        Ok(())
    }

    fn of(&self, kind: usize) -> impl Iterator<Item = &Burst> {
        self.bursts.iter().filter(move |burst| burst.kind == kind)
    }

    /// Microseconds a transaction.
    fn processor(&self, kind: usize) -> Option<f64> {
        let all: Option<Vec<f64>> = self.of(kind).map(|burst| burst.processor).collect();
        all.map(median)
    }

    fn row(&self, kind: usize, relayed: Option<f64>) -> Vec<String> {
        let median_of = |figure: fn(&Burst) -> f64| median(self.of(kind).map(figure).collect());
        let processor = self.processor(kind);
        let over = processor.zip(relayed);
        let none = || "—".to_owned();
        vec![
            KINDS[kind].0.to_owned(),
            self.name.to_owned(),
            processor.map_or_else(none, |spent| format!("{spent:.0} µs")),
            over.map_or_else(none, |(spent, relayed)| {
                format!("{:+.0} µs", spent - relayed)
            }),
            format!("{:.0}", median_of(|burst| burst.per_second)),
            format!("{:.2} ms", median_of(|burst| burst.latency)),
        ]
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// A generator that speaks to `port` of this machine with nothing else between.
fn beside(port: u16) -> Result<Generator> {
    let url = format!("postgres://{ROLE}:{PASSWORD}@localhost:{port}/{ROLE}");
    Generator::start(
        Command::new("sh")
            .args(["-c", &script()])
            .env("DATABASE_URL", url),
    )
}

/// Runs pgbench with each line of options that comes, and says what it measured.
fn script() -> String {
    format!(
        r#"echo ready
while read options; do
    {program} -n $options -c {CLIENTS} -j 1 -T {SECONDS} "$DATABASE_URL" 2>/dev/null | awk '
        /transactions actually processed/ {{ split($NF, part, "/"); transactions = part[1] }}
        /^latency average/ {{ latency = $4 }}
        /^tps/ {{ tps = $3 }}
        END {{ printf "{{\"transactions\": %d, \"latency\": %s, \"tps\": %s}}\n", transactions, latency + 0, tps + 0 }}'
done"#,
        program = programs().join("pgbench").display()
    )
}

fn fill(server: &Postgres) -> Result<()> {
    let filled = Command::new(programs().join("pgbench"))
        .args(["-i", "-q", "-s", SCALE, &server.url("127.0.0.1")])
        .output()
        .context("pgbench, which comes with PostgreSQL")?;
    ensure!(
        filled.status.success(),
        "pgbench -i: {}",
        String::from_utf8_lossy(&filled.stderr)
    );
    Ok(())
}

/// pgbouncer in front of the server, where it is installed.
fn pooler(server: &Postgres, folder: &Path) -> Result<Option<(Owned, u16)>> {
    let program = Path::new("/usr/sbin/pgbouncer");
    if !program.exists() {
        return Ok(None);
    }
    let port = free_port()?;
    let file = folder.join("pgbouncer.ini");
    let configuration = format!(
        "[databases]\n{ROLE} = host=127.0.0.1 port={} user={ROLE} password={PASSWORD}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = session\n",
        server.port()
    );
    std::fs::write(&file, configuration)?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    // It does not run as root.
    let mut command = Person::ordinary().command(program);
    let log = OpenOptions::new().write(true).open("/dev/null")?;
    let child = command
        .args(["-q".as_ref(), file.as_os_str()])
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let running = Owned(child);
    await_listening(port).context("pgbouncer does not listen")?;
    Ok(Some((running, port)))
}

/// Copies bytes between a port of loopback and another, and nothing else.
pub(crate) fn relay(from: u16, to: u16) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", from)).await?;
        loop {
            let (mut inside, _) = listener.accept().await?;
            tokio::spawn(async move {
                let mut outside = TcpStream::connect(("127.0.0.1", to)).await?;
                inside.set_nodelay(true)?;
                outside.set_nodelay(true)?;
                tokio::io::copy_bidirectional(&mut inside, &mut outside).await
            });
        }
    })
}
