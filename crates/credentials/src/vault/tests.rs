//! The vault on a real file, with each of its three places for the key.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

const VALUE: &[u8] = b"hunter2-of-the-vault";

fn passphrase(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

fn filled(home: &Path, place: KeyPlace) -> Vault {
    let mut vault = Vault::at(home, None);
    assert!(vault.is_new().unwrap());
    vault.create(place).unwrap();
    vault.add("railway", &Secret::new(VALUE.to_vec())).unwrap();
    vault
}

/// Every byte that lies in the folder.
fn everything(home: &Path) -> Vec<u8> {
    fs::read_dir(home)
        .unwrap()
        .flat_map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect()
}

#[test]
fn invariant_3_no_value_lies_in_the_clear_and_only_its_user_reads_the_files() {
    for place in [
        KeyPlace::Passphrase(passphrase("correct horse")),
        KeyPlace::File,
    ] {
        let home = tempfile::tempdir().unwrap();
        drop(filled(home.path(), place));
        let written = everything(home.path());
        for form in [VALUE.to_vec(), BASE64.encode(VALUE).into_bytes()] {
            assert!(!written.windows(form.len()).any(|bytes| bytes == form));
        }
        for entry in fs::read_dir(home.path()).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0);
        }
    }
}

#[test]
fn a_passphrase_opens_it_and_another_does_not() {
    let home = tempfile::tempdir().unwrap();
    drop(filled(
        home.path(),
        KeyPlace::Passphrase(passphrase("correct horse")),
    ));
    let mut vault = Vault::at(home.path(), None);
    assert!(vault.wants_passphrase().unwrap());
    assert!(matches!(
        vault.unlock(|| Some(passphrase("wrong horse"))),
        Err(VaultError::WrongPassphrase)
    ));
    assert!(matches!(
        vault.unlock(|| None),
        Err(VaultError::NoPassphrase)
    ));
    assert!(vault.get("railway").is_err(), "locked");
    vault.unlock(|| Some(passphrase("correct horse"))).unwrap();
    assert_eq!(vault.get("railway").unwrap().expose(), VALUE);
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(matches!(
        Vault::at(elsewhere.path(), None).create(KeyPlace::Passphrase(passphrase("short"))),
        Err(VaultError::ShortPassphrase)
    ));
}

#[test]
fn a_key_file_opens_it_and_its_loss_is_said() {
    let home = tempfile::tempdir().unwrap();
    drop(filled(home.path(), KeyPlace::File));
    let mut vault = Vault::at(home.path(), None);
    assert!(!vault.wants_passphrase().unwrap());
    vault.unlock(|| panic!("nobody is asked")).unwrap();
    assert_eq!(vault.get("railway").unwrap().expose(), VALUE);
    for content in ["", "AAAA", "not base64"] {
        fs::write(home.path().join("vault.key"), content).unwrap();
        let mut vault = Vault::at(home.path(), None);
        assert!(matches!(vault.unlock(|| None), Err(VaultError::KeyGone(_))));
    }
}

#[test]
fn a_keyring_keeps_the_key() {
    let home = tempfile::tempdir().unwrap();
    let tools = tempfile::tempdir().unwrap();
    let kept = tools.path().join("kept");
    let tool = tools.path().join("secret-tool");
    let script = format!(
        "#!/bin/sh\nword=$1; shift\ncase $word in\nstore) cat > {0} ;;\nlookup) cat {0} ;;\nesac\n",
        kept.display()
    );
    fs::write(&tool, script).unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", tools.path().display());
    let environment = |name: &str| match name {
        "PATH" => Some(path.clone()),
        "DBUS_SESSION_BUS_ADDRESS" => Some("unix:path=/run/bus".to_owned()),
        _ => None,
    };
    let elsewhere = Path::new("/nowhere");
    let keyring = Keyring::find(environment, elsewhere).unwrap();
    drop(filled(home.path(), KeyPlace::Keyring(keyring.clone())));
    assert!(!home.path().join("vault.key").exists());
    let mut vault = Vault::at(home.path(), Some(keyring.clone()));
    vault.unlock(|| None).unwrap();
    assert_eq!(vault.get("railway").unwrap().expose(), VALUE);

    fs::remove_file(&kept).unwrap();
    for keyring in [Some(keyring), None] {
        let mut vault = Vault::at(home.path(), keyring);
        assert!(matches!(vault.unlock(|| None), Err(VaultError::KeyGone(_))));
    }
    // Without a bus, or with the tool in the workspace, there is none.
    let no_bus = |name: &str| (name == "PATH").then(|| path.clone());
    assert!(Keyring::find(no_bus, elsewhere).is_none());
    assert!(Keyring::find(environment, tools.path()).is_none());
}

#[test]
fn names_are_taken_once_listed_and_removed() {
    let home = tempfile::tempdir().unwrap();
    let mut vault = filled(home.path(), KeyPlace::File);
    let again = vault.add("railway", &Secret::new(b"x".to_vec()));
    assert!(matches!(again, Err(VaultError::Exists(_))));
    for name in ["", ".hidden", "a/b", "a b", "a\u{1b}[1m"] {
        let added = vault.add(name, &Secret::new(b"x".to_vec()));
        assert!(matches!(added, Err(VaultError::Name)), "{name:?}");
    }
    for value in [&b""[..], b"a\nb", b"a\0"] {
        let added = vault.add("other", &Secret::new(value.to_vec()));
        assert!(matches!(added, Err(VaultError::Value)));
    }
    vault.add("another", &Secret::new(b"x".to_vec())).unwrap();
    let names: Vec<String> = vault.list().unwrap().into_iter().map(|l| l.name).collect();
    assert_eq!(names, ["another", "railway"]);
    vault.remove("another").unwrap();
    assert!(matches!(
        vault.remove("another"),
        Err(VaultError::Unknown(_))
    ));
    assert!(matches!(vault.get("another"), Err(VaultError::Unknown(_))));
}

#[test]
fn a_file_that_was_meddled_with_gives_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut vault = filled(home.path(), KeyPlace::File);
    vault.add("stripe", &Secret::new(b"y".to_vec())).unwrap();
    let path = home.path().join("vault.json");
    let text = fs::read_to_string(&path).unwrap();
    // One value under the other's name.
    let swapped = text
        .replace("\"railway\"", "\"tmp\"")
        .replace("\"stripe\"", "\"railway\"")
        .replace("\"tmp\"", "\"stripe\"");
    fs::write(&path, swapped).unwrap();
    assert!(matches!(vault.get("railway"), Err(VaultError::Damaged(_))));
    for broken in [
        text.replace("\"format\": 1", "\"format\": 2"),
        text.replace("\"railway\"", "\"\\u001b[2J\""),
        text.replace("\"entries\"", "\"more\": 1, \"entries\""),
        String::new(),
    ] {
        fs::write(&path, broken).unwrap();
        assert!(matches!(vault.list(), Err(VaultError::Damaged(_))));
    }
}
