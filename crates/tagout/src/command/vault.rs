//! `tagout vault`: credentials that a person hands to Tagout instead of leaving them in files.

use std::io::{IsTerminal, Read};
use std::path::Path;

use anyhow::{Context, bail};
use tagout_credentials::Secret;
use tagout_credentials::vault::{KeyPlace, Keyring, Vault};
use tagout_session::Home;
use zeroize::Zeroizing;

use crate::arguments::VaultCommand;
use crate::command::{open, workspace};
use crate::screen::{confirm, has_terminal, paint, passphrase, say};

/// The longest value, and its line end.
const LONGEST_VALUE: u64 = 64 * 1024 + 2;

pub(crate) fn vault(command: VaultCommand) -> anyhow::Result<u8> {
    let (home, _) = open()?;
    let keyring = keyring(&home);
    let mut vault = Vault::at(home.path(), keyring.clone());
    match command {
        VaultCommand::Add { name } => add(&mut vault, keyring, &name),
        VaultCommand::List => list(&vault),
        VaultCommand::Remove { name } => remove(&mut vault, &name),
        VaultCommand::Probe { name } => probe(&home, &mut vault, &name),
    }
}

/// The desktop's keyring; its client is never taken from the workspace here.
fn keyring(home: &Home) -> Option<Keyring> {
    let here = workspace(home).or_else(|_| std::env::current_dir().map_err(anyhow::Error::from));
    let here = here.unwrap_or_else(|_| Path::new("/").to_owned());
    Keyring::find(|name| std::env::var(name).ok(), &here)
}

fn add(vault: &mut Vault, keyring: Option<Keyring>, name: &str) -> anyhow::Result<u8> {
    vault.check_free(name)?;
    if vault.is_new()? {
        let place = choose_place(keyring)?;
        vault.create(place)?;
    }
    unlock(vault)?;
    let value = read_value(name)?;
    vault.add(name, &value)?;
    println!("{} {name}", paint("stored", "1;32"));
    if let Some(protection) = vault.protection()? {
        println!("  the vault is {}", sentence(protection));
    }
    println!("  in tagout.toml: source = \"vault:{name}\"");
    println!("  what it can do: tagout vault probe {name}");
    Ok(0)
}

/// Where the key of a new vault shall lie: in the keyring of the desktop, else as the person says.
fn choose_place(keyring: Option<Keyring>) -> anyhow::Result<KeyPlace> {
    if let Some(keyring) = keyring {
        say("the key of the new vault goes into your desktop's keyring");
        return Ok(KeyPlace::Keyring(keyring));
    }
    if !has_terminal() {
        say(
            "there is no keyring and no terminal: the key of the new vault lies in a file beside it, \
             which any program of yours outside a sandbox can read",
        );
        return Ok(KeyPlace::File);
    }
    let first = new_passphrase(
        "passphrase for the new vault (empty: a key file that any program of yours can read)",
    )?;
    if first.is_empty() {
        return Ok(KeyPlace::File);
    }
    if *new_passphrase("the same again")? != *first {
        bail!("the two are not the same; nothing was stored");
    }
    Ok(KeyPlace::Passphrase(first))
}

fn new_passphrase(prompt: &str) -> anyhow::Result<Zeroizing<String>> {
    Ok(Zeroizing::new(passphrase(prompt)?))
}

fn unlock(vault: &mut Vault) -> anyhow::Result<()> {
    Ok(vault.unlock(|| {
        passphrase("passphrase of the vault")
            .ok()
            .map(Zeroizing::new)
    })?)
}

/// The value, typed without being shown, or piped in. Never an argument: those are seen by every
/// process and kept in a shell's history.
fn read_value(name: &str) -> anyhow::Result<Secret> {
    let mut text = Zeroizing::new(String::new());
    if std::io::stdin().is_terminal() {
        *text = passphrase(&format!("value of {name} (it is not shown)"))?;
    } else {
        std::io::stdin()
            .take(LONGEST_VALUE)
            .read_to_string(&mut text)
            .context("the value on standard input cannot be read as text")?;
    }
    let value = text.strip_suffix('\n').unwrap_or(&text);
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.is_empty() {
        bail!("nothing was typed; nothing was stored");
    }
    Ok(Secret::new(value.as_bytes().to_vec()))
}

fn list(vault: &Vault) -> anyhow::Result<u8> {
    let listed = vault.list()?;
    if listed.is_empty() {
        println!("the vault is empty; `tagout vault add NAME` stores a credential");
    }
    let widest = listed.iter().map(|one| one.name.len()).max().unwrap_or(0);
    for one in &listed {
        println!(
            "{:widest$}  {}",
            one.name,
            paint(&format!("added {}", one.added), "2")
        );
    }
    if let Some(protection) = vault.protection()? {
        println!("{}", paint(protection, "2"));
    }
    Ok(0)
}

fn remove(vault: &mut Vault, name: &str) -> anyhow::Result<u8> {
    if !vault.list()?.iter().any(|one| one.name == name) {
        bail!("the vault has no `{name}`; `tagout vault list` shows what it has");
    }
    if has_terminal()
        && std::io::stdin().is_terminal()
        && !confirm(&format!("Remove {name} for good?"))
    {
        say("nothing was removed");
        return Ok(1);
    }
    vault.remove(name)?;
    println!("{} {name}", paint("removed", "1;31"));
    Ok(0)
}

fn probe(home: &Home, vault: &mut Vault, name: &str) -> anyhow::Result<u8> {
    unlock(vault)?;
    let value = vault.get(name)?;
    let found = tagout_session::probe::probe(home, &value)?;
    println!("{}  {}", paint(name, "1"), found.provider);
    for fact in &found.facts {
        println!("  {} {fact}", paint("•", "33"));
    }
    for unknown in &found.unknown {
        println!("  {} {unknown}", paint("?", "2"));
    }
    Ok(0)
}

fn sentence(protection: &str) -> String {
    if protection.starts_with("its") {
        format!("encrypted; {protection}")
    } else {
        protection.to_owned()
    }
}
