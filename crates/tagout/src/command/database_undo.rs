//! `tagout undo ID --database`: what approved statements took from a session's databases, shown or put
//! back, the newest first.

use std::cell::RefCell;
use std::path::Path;

use anyhow::bail;
use tagout_core::SessionId;
use tagout_credentials::vault::{Keyring, Vault, VaultError};
use tagout_session::Home;
use tagout_session::database_undo::{Taken, UndoOptions, UndoReport, taken, undo};
use zeroize::Zeroizing;

use crate::arguments::UndoArguments;
use crate::screen::{paint, passphrase};

pub(crate) fn undo_database(
    home: &Home,
    id: &SessionId,
    workspace: &Path,
    options: &UndoArguments,
) -> anyhow::Result<u8> {
    let all = taken(home, id)?;
    if all.is_empty() {
        println!("no approved statement of this session took anything from a database");
        return Ok(0);
    }
    if options.list {
        all.iter().for_each(show);
        return Ok(0);
    }
    let keyring = Keyring::find(|name| std::env::var(name).ok(), workspace);
    let vault = RefCell::new(Vault::at(home.path(), keyring));
    let get = |name: &str| -> Result<_, VaultError> {
        let mut vault = vault.borrow_mut();
        vault.unlock(|| {
            passphrase("passphrase of the vault")
                .ok()
                .map(Zeroizing::new)
        })?;
        vault.get(name)
    };
    let how = UndoOptions {
        dry_run: options.dry_run,
        force: options.force,
    };
    for taken in &all {
        if taken.summary.is_undone && !options.force {
            continue;
        }
        show(taken);
        let report = undo(home, id, workspace, &get, taken, how)?;
        tell(&report, how);
        if report.conflicts() > 0 && !report.is_done && !how.dry_run {
            // What came before it may lie beneath it.
            bail!(
                "nothing of this was put back, and nothing older; --force puts it back over what others changed"
            );
        }
        if how.dry_run && all.len() > 1 {
            println!("older ones are tried only once this is put back");
            break;
        }
    }
    Ok(0)
}

fn show(taken: &Taken) {
    let summary = &taken.summary;
    let undone = if summary.is_undone {
        "  (put back)"
    } else {
        ""
    };
    println!(
        "{}  {}: {}{undone}",
        paint(&taken.hold, "1"),
        summary.database.escape_debug(),
        summary.text.escape_debug()
    );
    for table in &summary.tables {
        println!("  {}", table.escape_debug());
    }
}

fn tell(report: &UndoReport, how: UndoOptions) {
    let done = if report.is_done {
        "put back"
    } else {
        "would put back"
    };
    for table in &report.tables {
        println!(
            "{done} {}: {} rows again, {} with their earlier values, {} as before already",
            table.name.escape_debug(),
            table.restored,
            table.changed_back,
            table.already
        );
        if table.conflicts > 0 {
            let some: Vec<_> = table
                .examples
                .iter()
                .map(|key| key.escape_debug().to_string())
                .collect();
            let over = if how.force { "put back over" } else { "left" };
            eprintln!(
                "{over} {}: {} rows that others changed since {}",
                table.name.escape_debug(),
                table.conflicts,
                some.join(" ")
            );
        }
    }
    if report.definitions > 0 {
        println!("{done} definitions, by {} statements", report.definitions);
    }
    for remark in &report.remarks {
        println!("{}", remark.escape_debug());
    }
}
