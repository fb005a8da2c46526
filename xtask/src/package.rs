//! `cargo xtask package`: the Debian package, from a tree that is staged under `target/package`.
//!
//! Everything but the program comes from what the program itself runs on: manual pages and completions from
//! its table of commands, the dependencies from the symbols that it asks the C library for. What must
//! stay true: the same program and the same commit give the same package, byte by byte.

use crate::command_table::Arguments;
use crate::licences;
use crate::run::{cargo, root, succeed, target};
use anyhow::{Context, Result, bail};
use clap::CommandFactory;
use clap_complete::Shell;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The largest program that may be shipped, in bytes.
const LARGEST: u64 = 40 << 20;

/// Pages of documentation that lie beside the program.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "NOTICE",
    "docs/SECURITY.md",
    "docs/ARCHITECTURE.md",
    "docs/install.md",
];

/// Where the shells that Debian has look for what completes a command.
const COMPLETIONS: &[(Shell, &str)] = &[
    (Shell::Bash, "usr/share/bash-completion/completions"),
    (Shell::Zsh, "usr/share/zsh/vendor-completions"),
    (Shell::Fish, "usr/share/fish/vendor_completions.d"),
];

/// Builds the release and packs it; or packs the program given by `--binary FILE`, as the tests do.
pub(crate) fn package(arguments: &[String]) -> Result<()> {
    let package = match arguments {
        [] => pack(&build()?, Compression::Small)?,
        [option, file] if option == "--binary" => pack(Path::new(file), Compression::Quick)?,
        _ => bail!("usage: cargo xtask package [--binary FILE]"),
    };
    println!("{}", package.display());
    Ok(())
}

/// What counts in a package.
pub(crate) enum Compression {
    /// For people.
    Small,
    /// For tests: it is unpacked once or twice.
    Quick,
}

/// Packs a program; the package's path.
pub(crate) fn pack(program: &Path, compression: Compression) -> Result<PathBuf> {
    let tree = target().join("package/root");
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("cannot empty {}", tree.display()))?;
    }
    let installed = tree.join("usr/bin/tagout");
    put(
        &installed,
        &fs::read(program).with_context(|| format!("cannot read {}", program.display()))?,
        0o755,
    )?;
    // The release has no symbols; a program for tests has ten times as many bytes of them as of code.
    succeed(
        Command::new("strip")
            .arg("--strip-unneeded")
            .arg(&installed),
    )?;

    manual(&tree.join("usr/share/man/man1"))?;
    for (shell, folder) in COMPLETIONS {
        let folder = tree.join(folder);
        fs::create_dir_all(&folder)?;
        clap_complete::generate_to(*shell, &mut Arguments::command(), "tagout", folder)?;
    }
    let documents = tree.join("usr/share/doc/tagout");
    for document in DOCUMENTS {
        let name = Path::new(document)
            .file_name()
            .context("a document has a name")?;
        put(
            &documents.join(name),
            &fs::read(root().join(document)).with_context(|| format!("cannot read {document}"))?,
            0o644,
        )?;
    }
    put(
        &documents.join("changelog.gz"),
        &compressed(&fs::read(root().join("CHANGELOG.md"))?)?,
        0o644,
    )?;
    put(&documents.join("copyright"), copyright()?.as_bytes(), 0o644)?;
    put(
        &documents.join("third-party.gz"),
        &compressed(licences::of_the_release()?.as_bytes())?,
        0o644,
    )?;

    let control = tree.join("DEBIAN");
    let sources = root().join("packaging/debian");
    put(
        &control.join("control"),
        control_file(&tree, &installed)?.as_bytes(),
        0o644,
    )?;
    for script in ["postinst", "postrm"] {
        put(
            &control.join(script),
            &fs::read(sources.join(script))?,
            0o755,
        )?;
    }
    open_folders(&tree)?;

    let package = target().join(format!("package/tagout_{}_amd64.deb", version()));
    succeed(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "--uniform-compression"])
            .args(match compression {
                Compression::Small => ["-Zxz", "-z9"],
                Compression::Quick => ["-Zgzip", "-z1"],
            })
            .arg("--build")
            .arg(&tree)
            .arg(&package)
            .env("SOURCE_DATE_EPOCH", commit_time()?)
            .stdout(Stdio::null()),
    )?;
    Ok(package)
}

/// The release, with this machine's folders left out of its messages, so that it is the same wherever it
/// is built.
fn build() -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let mut flags = vec![format!(
        "--remap-path-prefix={}=/usr/src/tagout",
        root().display()
    )];
    if let Some(home) = home {
        flags.push(format!(
            "--remap-path-prefix={}=/usr/src/cargo",
            home.display()
        ));
    }
    succeed(
        cargo()
            .args(["build", "--release", "--locked", "--package", "tagout"])
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            // PostgreSQL's parser is C and names its files in messages.
            .env(
                "CFLAGS",
                format!("-ffile-prefix-map={}=/usr/src/tagout", root().display()),
            ),
    )?;
    let program = target().join("release/tagout");
    let size = fs::metadata(&program)?.len();
    if size > LARGEST {
        bail!("the program has {size} bytes, and {LARGEST} is the most");
    }
    Ok(program)
}

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// One page a command, as git has them.
fn manual(folder: &Path) -> Result<()> {
    let pages = folder.join("plain");
    fs::create_dir_all(&pages)?;
    clap_mangen::generate_to(Arguments::command(), &pages)?;
    for page in fs::read_dir(&pages)? {
        let page = page?;
        let name = page
            .file_name()
            .into_string()
            .ok()
            .context("a page has a plain name")?;
        put(
            &folder.join(name + ".gz"),
            &compressed(&fs::read(page.path())?)?,
            0o644,
        )?;
    }
    fs::remove_dir_all(&pages)?;
    Ok(())
}

/// Debian's form of the licence's notice.
fn copyright() -> Result<String> {
    let notice = fs::read_to_string(root().join("NOTICE")).context("cannot read NOTICE")?;
    Ok(format!(
        "{notice}\nThe licence is in /usr/share/common-licenses/Apache-2.0. The program contains the works that\n\
         third-party.gz names, each under the licence printed there.\n"
    ))
}

fn control_file(tree: &Path, program: &Path) -> Result<String> {
    let template = fs::read_to_string(root().join("packaging/debian/control"))
        .context("cannot read packaging/debian/control")?;
    Ok(template
        .replace("@VERSION@", version())
        .replace("@HOMEPAGE@", env!("CARGO_PKG_REPOSITORY"))
        .replace("@SIZE@", &size_of(tree)?.div_ceil(1024).to_string())
        .replace("@DEPENDS@", &libraries(program)?))
}

/// The Debian packages of the libraries that a program is linked to, each at least of the version whose
/// symbols it asks for.
fn libraries(program: &Path) -> Result<String> {
    let dump = output(
        Command::new("objdump")
            .args(["--private-headers", "--dynamic-syms"])
            .arg(program),
    )?;
    let needed: Vec<&str> = dump
        .lines()
        .filter_map(|line| line.trim().strip_prefix("NEEDED"))
        .map(str::trim)
        .collect();
    let newest = |name: &str| {
        dump.split(|letter: char| letter.is_whitespace() || "()".contains(letter))
            .filter_map(|word| word.strip_prefix(name))
            .map(|version| {
                version
                    .split('.')
                    .map(|number| number.parse().unwrap_or(0))
                    .collect::<Vec<u32>>()
            })
            .max()
            .map(|version| {
                version
                    .iter()
                    .map(u32::to_string)
                    .collect::<Vec<_>>()
                    .join(".")
            })
    };
    let mut depends = Vec::new();
    for library in needed {
        match library {
            // Loader and mathematics come with the C library.
            "ld-linux-x86-64.so.2" | "libm.so.6" => {}
            "libc.so.6" => depends.push(match newest("GLIBC_") {
                Some(version) => format!("libc6 (>= {version})"),
                None => "libc6".to_owned(),
            }),
            "libgcc_s.so.1" => depends.push("libgcc-s1".to_owned()),
            other => bail!("the program asks for {other}, and no package is known that has it"),
        }
    }
    Ok(depends.join(", "))
}

/// The sum of the files' sizes, in bytes.
fn size_of(folder: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        size += if entry.file_type()?.is_dir() {
            size_of(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(size)
}

/// Makes every folder everybody's to enter and every generated file everybody's to read, whatever this
/// process's mask is.
fn open_folders(folder: &Path) -> Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_folders(&entry.path())?;
        } else if entry.metadata()?.permissions().mode() & 0o111 == 0 {
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o644))?;
        }
    }
    Ok(())
}

fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let folder = path.parent().context("a file has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// By gzip, without a name or a time in it.
fn compressed(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = Command::new("gzip")
        .args(["-9", "--no-name", "--stdout"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start gzip")?;
    let mut input = gzip.stdin.take().context("gzip reads")?;
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = gzip.wait_with_output()?;
    if writer.join().is_err() || !output.status.success() {
        bail!("gzip failed: {}", output.status);
    }
    Ok(output.stdout)
}

/// When the commit was made that is packed: no file in the package is newer.
fn commit_time() -> Result<String> {
    let time = output(
        Command::new("git")
            .args(["log", "-1", "--format=%ct"])
            .current_dir(root()),
    )?;
    Ok(time.trim().to_owned())
}

/// What a command prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", output.status);
    }
    String::from_utf8(output.stdout).context("it printed something else than text")
}
