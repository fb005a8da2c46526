//! The HTTP gate with TLS on both sides, policy and durable record, beside going there directly and
//! beside proxies that only pass on. The processor time is the proxy's own process alone.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::Subject;
use crate::anchors::{self, Anchor};
use crate::load::STREAMS;
use crate::page::{Section, machine};
use crate::process::{median, processor_time, resident, threads};
use crate::session::{Generator, HOST, Home, Place};

const CONNECTIONS: usize = 50;
/// Words of the load generator.
const H1: &str = "h1";
const H2: &str = "h2";
/// How long each burst, and the paced run, takes.
const SECONDS: u64 = 5;
/// A pace that every proxy here but mitmproxy can keep.
const RATE: u32 = 500;
/// Bursts of each subject; they take turns, and the first does not count.
const ROUNDS: usize = 4;
/// Connections held for [`MEMORY_FOR`].
const MANY: usize = 1_000;
const MEMORY_FOR: Duration = Duration::from_secs(60);

const MANIFEST: &str =
    "[task]\nname = \"bench\"\n\n[[host]]\nname = \"bench.example.com\"\nmethods = [\"GET\"]\n";
const CREDENTIAL: &str = "\n[[credential]]\nname = \"bench\"\nprovider = \"http\"\nhosts = [\"bench.example.com\"]\n\
     slot = \"header:x-api-key\"\nsource = \"env:BENCH_TOKEN\"\nexpose = \"BENCH_TOKEN\"\noperations = [\"read\"]\n";

/// Something that requests go through, and what was measured of it.
struct Course {
    name: &'static str,
    generator: Generator,
    /// The process whose processor time counts; `None` for none.
    through: Option<u32>,
    per_request: Vec<f64>,
    per_second: Vec<f64>,
    paced: (f64, f64),
    memory: Option<f64>,
    _proxy: Option<Anchor>,
}

pub(crate) fn measure(subject: &Subject) -> Result<Section> {
    let machine = machine();
    let place = Place::new()?;
    let plain = place.home("plain", MANIFEST)?;
    plain.trust(&subject.tagout)?;
    let bound = place.home("bound", &format!("{MANIFEST}{CREDENTIAL}"))?;
    bound.trust(&subject.tagout)?;

    let second = place.home_of("second", MANIFEST, place.http2_port)?;
    second.trust(&subject.tagout)?;

    let mut courses = vec![direct(&place, H1)?];
    for (name, home, protocol) in [
        ("tagout, a granted host", &plain, H1),
        ("tagout, a host that a credential is bound to", &bound, H1),
        ("tagout, a granted host, HTTP/2", &second, H2),
    ] {
        let generator = Generator::start(&mut governed(subject, home, CONNECTIONS, protocol))
            .with_context(|| name.to_owned())?;
        courses.push(Course::new(name, generator));
    }
    let proxies = [
        (anchors::hudsucker(subject, &place)?, H1),
        (anchors::hudsucker_http2(subject, &place)?, H2),
        (anchors::mitmproxy(subject, &place)?, H1),
    ];
    for (proxy, protocol) in proxies {
        if let Some(proxy) = proxy {
            let name = proxy.name;
            match through(&place, proxy, protocol) {
                Ok(course) => courses.push(course),
                // An anchor that was built before may not speak it.
                Err(error) => eprintln!("bench: {name} is left out: {error:#}"),
            }
        }
    }
    courses.push(direct(&place, H2)?);
    for round in 0..ROUNDS {
        for course in &mut courses {
            course.burst(round > 0)?;
        }
    }
    for course in &mut courses {
        course.pace()?;
    }
    let direct_p99 = courses.first().map_or(f64::NAN, |course| course.paced.1);
    let anchor = courses
        .iter()
        .find(|course| course.name.starts_with("hudsucker"))
        .map_or(f64::NAN, |course| median(course.per_request.clone()));
    // Said now: what follows takes a minute.
    for course in &courses {
        eprintln!("bench: {}", course.row(direct_p99, anchor).join(" | "));
    }
    let mut rows: Vec<_> = courses
        .iter()
        .map(|course| course.row(direct_p99, anchor))
        .collect();
    drop(courses);
    rows.extend(memory(subject, &plain)?);
    Ok(Section {
        title: "HTTP gate",
        about: format!(
            "{CONNECTIONS} kept-alive connections, answers of 1 kB by nginx, HTTP/1.1 over TLS on both \
             sides, on {machine}; with HTTP/2, as many streams, {STREAMS} to a connection; {} bursts of {SECONDS} s each, in turn. Each request through Tagout is judged and has two synced entries in the \
             ledger. `p50` and `p99 added` are at {RATE} requests a second, over going there directly. \
             Client and server take part of the same processors, so requests a second say little.",
            ROUNDS - 1
        ),
        columns: vec![
            "through",
            "processor a request",
            "over hudsucker",
            "requests a second",
            "p50",
            "p99 added",
            "memory",
        ],
        rows,
    })
}

fn load(home_ca: &str, host: &str, port: u16, connections: usize, protocol: &str) -> Vec<String> {
    ["load", home_ca, host]
        .map(str::to_owned)
        .into_iter()
        .chain([
            port.to_string(),
            connections.to_string(),
            SECONDS.to_string(),
            RATE.to_string(),
            protocol.to_owned(),
        ])
        .collect()
}

fn governed(subject: &Subject, home: &Home, connections: usize, protocol: &str) -> Command {
    let mut command = home.command(&subject.tagout);
    command
        .args(["run", "--", "./tagout-bench"])
        // Where the session's roots lie inside.
        .args(load(
            "/etc/ssl/certs/ca-certificates.crt",
            HOST,
            443,
            connections,
            protocol,
        ));
    command
}

fn direct(place: &Place, protocol: &str) -> Result<Course> {
    let (name, port) = match protocol {
        H2 => ("nothing: directly, HTTP/2", place.http2_port),
        _ => ("nothing: directly", place.port),
    };
    let ca = place.files.ca.display().to_string();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(load(&ca, "localhost", port, CONNECTIONS, protocol));
    let mut course = Course::new(name, Generator::start(&mut command)?);
    course.through = None;
    Ok(course)
}

fn through(place: &Place, proxy: Anchor, protocol: &str) -> Result<Course> {
    let port = match protocol {
        H2 => place.http2_port,
        _ => place.port,
    };
    let ca = place.files.ca.display().to_string();
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(load(&ca, "localhost", port, CONNECTIONS, protocol))
        .arg(&proxy.address);
    let generator = Generator::start(&mut command).with_context(|| proxy.name.to_owned())?;
    let mut course = Course::new(proxy.name, generator);
    course.through = Some(proxy.process.id());
    course._proxy = Some(proxy);
    Ok(course)
}

impl Course {
    fn new(name: &'static str, generator: Generator) -> Self {
        Self {
            name,
            through: Some(generator.id()),
            generator,
            per_request: Vec::new(),
            per_second: Vec::new(),
            paced: (f64::NAN, f64::NAN),
            memory: None,
            _proxy: None,
        }
    }

    /// The first burst warms caches, and does not count.
    fn burst(&mut self, counts: bool) -> Result<()> {
        let before = self.through.map(processor_time).transpose()?;
        let figures = self.generator.run("burst")?;
        let requests = figures["requests"].as_f64().unwrap_or(f64::NAN);
        let seconds = figures["seconds"].as_f64().unwrap_or(f64::NAN);
        if !counts {
            return Ok(());
        }
        self.per_second.push(requests / seconds);
        if let (Some(process), Some(before)) = (self.through, before) {
            let used = processor_time(process)?.saturating_sub(before);
            self.per_request.push(used.as_secs_f64() * 1e6 / requests);
            self.memory = Some(resident(process)?);
        }
        Ok(())
    }

    fn pace(&mut self) -> Result<()> {
        // A proxy that cannot keep the pace would only be behind.
        if median(self.per_second.clone()) < f64::from(RATE) * 1.2 {
            return Ok(());
        }
        let figures = self.generator.run("paced")?;
        let at = |name: &str| figures[name].as_f64().unwrap_or(f64::NAN) / 1e3;
        self.paced = (at("p50_us"), at("p99_us"));
        Ok(())
    }

    fn row(&self, direct_p99: f64, anchor: f64) -> Vec<String> {
        let shown = |value: f64, text: String| {
            if value.is_nan() {
                "—".to_owned()
            } else {
                text
            }
        };
        let per_request = median(self.per_request.clone());
        let per_second = median(self.per_second.clone());
        let added = match self.through {
            None => f64::NAN,
            Some(_) => self.paced.1 - direct_p99,
        };
        vec![
            self.name.to_owned(),
            shown(per_request, format!("{per_request:.0} µs")),
            shown(
                per_request / anchor,
                format!("{:.2}×", per_request / anchor),
            ),
            format!("{per_second:.0}"),
            shown(self.paced.0, format!("{:.2} ms", self.paced.0)),
            shown(added, format!("{added:.2} ms")),
            self.memory
                .map_or_else(|| "—".to_owned(), |mb| format!("{mb:.0} MB")),
        ]
    }
}

/// What a session's supervisor takes when nothing happens, and with many connections over a minute.
fn memory(subject: &Subject, home: &Home) -> Result<Vec<Vec<String>>> {
    let row = |name: String, memory: String| {
        let mut row = vec![name];
        row.extend(["—"; 5].map(str::to_owned));
        row.push(memory);
        row
    };
    let idle = Generator::start(&mut governed(subject, home, 1, H1))?;
    let alone = resident(idle.id())?;
    drop(idle);
    let mut many = Generator::start(&mut governed(subject, home, MANY, H1))?;
    let first = resident(many.id())?;
    std::thread::sleep(MEMORY_FOR);
    let last = resident(many.id())?;
    let count = threads(many.id())?;
    many.run("rest")?;
    Ok(vec![
        row(
            "tagout, one connection".to_owned(),
            format!("{alone:.0} MB"),
        ),
        row(
            format!(
                "tagout, {MANY} connections, at once and after {} s",
                MEMORY_FOR.as_secs()
            ),
            format!("{first:.0} MB, {last:.0} MB, {count} threads"),
        ),
    ])
}
