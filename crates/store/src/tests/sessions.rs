//! Sessions that run, end and crash, and how far their ledgers had come.

use super::*;

#[test]
fn a_session_runs_while_its_lock_is_held_and_has_crashed_after() {
    let world = World::new();
    let store = world.open();
    let folder = world
        .home
        .path()
        .join("sessions")
        .join(world.session.as_str());
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let id = world.hold("a");
    let state = || store.session(&world.session).unwrap().state;
    assert_eq!(state(), SessionState::Running);
    assert_eq!(store.end_crashed().unwrap(), []);
    drop(lock);
    assert_eq!(state(), SessionState::Crashed);
    assert_eq!(
        store.end_crashed().unwrap(),
        std::slice::from_ref(&world.session)
    );
    assert_eq!(store.end_crashed().unwrap(), []);
    let status = store.session(&world.session).unwrap();
    assert_eq!(status.state, SessionState::Crashed);
    assert!(status.ended.is_some());
    assert_eq!(world.state(&id), HoldState::Withdrawn);
}

#[test]
fn a_session_whose_command_never_ran_was_refused() {
    let world = World::new();
    let store = world.open();
    let refused = Ending::refused("no user namespaces");
    store.end_session(&world.session, &refused).unwrap();
    assert_eq!(store.end_crashed().unwrap(), []);
    let status = store.session(&world.session).unwrap();
    assert_eq!(status.state, SessionState::Refused);
    assert_eq!(status.ending, Some(refused));
    assert!(store.open_sessions().unwrap().is_empty());
    let listing = serde_json::to_value(status.listing()).unwrap();
    assert_eq!(listing["state"], "refused");
    assert_eq!(listing["reason"], "refused: no user namespaces");
}

#[test]
fn a_session_shows_as_promised_and_ends_once() {
    let world = World::new();
    let store = world.open();
    let id = world.hold("a");
    store
        .set_high_water(&world.session, 17, Digest::of(b"root"))
        .unwrap();
    assert_eq!(store.session(&world.session).unwrap().pending_holds, 1);
    world.pass(MINUTE);
    store.end_session(&world.session, &ending()).unwrap();
    let late = Ending {
        exit_status: Some(1),
        reason: "again".to_owned(),
    };
    store.end_session(&world.session, &late).unwrap();
    assert_eq!(world.state(&id), HoldState::Withdrawn);
    let listed = store.sessions().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        serde_json::to_string(&listed[0].listing()).unwrap(),
        json!({
            "id": world.session,
            "state": "ended",
            "started": "2026-04-24T00:00:00.000Z",
            "ended": "2026-04-24T00:01:00.000Z",
            "pid": 4711,
            "command": ["bash", "-c", "true"],
            "workspace": "/home/ada/app",
            "environment": "staging",
            "task": "fix-login",
            "policy_digest": Digest::of(b"policy"),
            "user": "ada",
            "exit_status": 0,
            "reason": "finished",
            "pending_holds": 0,
            "ledger_entries": 17,
        })
        .to_string()
    );
    assert_eq!(listed[0].record.pid_started, 815);
}

#[test]
fn the_high_water_mark_never_falls() {
    let world = World::new();
    let store = world.open();
    let mark = || store.session(&world.session).unwrap().high_water;
    assert_eq!(mark(), None);
    store
        .set_high_water(&world.session, 5, Digest::of(b"5"))
        .unwrap();
    store
        .set_high_water(&world.session, 5, Digest::of(b"other"))
        .unwrap();
    store
        .set_high_water(&world.session, 3, Digest::of(b"3"))
        .unwrap();
    assert_eq!(mark(), Some((5, Digest::of(b"5"))));
    store
        .set_high_water(&world.session, 6, Digest::of(b"6"))
        .unwrap();
    assert_eq!(mark(), Some((6, Digest::of(b"6"))));
    let stranger = SessionId::random().unwrap();
    assert!(store.set_high_water(&stranger, 1, Digest::of(b"")).is_err());
    assert!(store.end_session(&stranger, &ending()).is_err());
    assert!(store.session(&stranger).is_err());
}
