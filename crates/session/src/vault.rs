//! The vault as a session opens it: when the first `vault:` source is read, and not before.

use std::cell::RefCell;
use std::path::Path;

use tagout_credentials::Secret;
use tagout_credentials::vault::{Keyring, Vault, VaultError};

use crate::home::Home;
use crate::run::Screen;

/// A vault that asks for its passphrase when it is needed, once.
pub(crate) struct LazyVault<'a> {
    vault: RefCell<Vault>,
    screen: &'a dyn Screen,
}

impl<'a> LazyVault<'a> {
    pub(crate) fn of(home: &Home, workspace: &Path, screen: &'a dyn Screen) -> Self {
        let keyring = Keyring::find(|name| std::env::var(name).ok(), workspace);
        Self {
            vault: RefCell::new(Vault::at(home.path(), keyring)),
            screen,
        }
    }

    pub(crate) fn get(&self, name: &str) -> Result<Secret, VaultError> {
        let mut vault = self.vault.borrow_mut();
        vault.unlock(|| self.screen.passphrase("passphrase of the vault"))?;
        vault.get(name)
    }
}
