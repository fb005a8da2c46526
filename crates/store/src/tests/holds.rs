//! The life of a hold against people and processes that race, come back later, or set the clock back
//! (facts A3 to A8).

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[test]
fn a_hold_reads_back_as_it_was_opened_and_shows_as_promised() {
    let world = World::new();
    let new = world.new_hold("a");
    let opened = world.open().open_hold(&new).unwrap();
    assert!(opened.fresh);
    let hold = world.open().hold(&opened.hold.id).unwrap();
    assert_eq!(hold, opened.hold);
    assert_eq!(hold.action, new.action);
    assert_eq!(hold.shown_digest(), Digest::of(new.shown.as_bytes()));
    let mut shown = serde_json::to_value(hold.listing()).unwrap();
    shown["id"] = json!("h");
    assert_eq!(
        shown.to_string(),
        json!({
            "id": "h",
            "session": world.session,
            "state": "pending",
            "created": "2026-04-24T00:00:00.000Z",
            "decide_by": "2026-04-24T00:30:00.000Z",
            "use_by": "2026-04-24T01:00:00.000Z",
            "action": {
                "operations": ["railway.volumeDelete"],
                "effect": "irreversible",
                "flags": ["billing"],
                "resources": ["railway:volume/v-1"],
                "environment": "staging",
                "summary": "railway.volumeDelete of v-1",
                "digest": Digest::of(b"a"),
            },
            "preview": ["2 backups live in it"],
        })
        .to_string()
    );
}

#[test]
fn a8_ten_thousand_identical_actions_are_one_hold() {
    let world = World::new();
    let store = world.open();
    let first = store.open_hold(&world.new_hold("a")).unwrap();
    for _ in 0..10_000 {
        let again = store.open_hold(&world.new_hold("a")).unwrap();
        assert!(!again.fresh && again.hold.id == first.hold.id);
    }
    assert_eq!(store.count_pending(&world.session).unwrap(), 1);
}

#[test]
fn a8_identical_actions_at_once_are_one_hold() {
    let world = World::new();
    let new = world.new_hold("a");
    let opened = race(&world, 8, move |_, store| store.open_hold(&new).unwrap());
    assert_eq!(opened.iter().filter(|opened| opened.fresh).count(), 1);
    assert!(opened.iter().all(|one| one.hold.id == opened[0].hold.id));
}

#[test]
fn a_session_has_at_most_twenty_pending_holds() {
    let world = World::new();
    let session = world.session.clone();
    let opened = race(&world, 25, move |number, store| {
        let hold = NewHold {
            digest: Digest::of(&number.to_be_bytes()),
            session: session.clone(),
            ..World::new().new_hold("a")
        };
        store.open_hold(&hold).map(|opened| opened.hold.id)
    });
    let (fit, over): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
    assert_eq!(fit.len(), 20);
    for refused in over {
        assert!(matches!(
            refused,
            Err(StoreError::TooManyHolds { most: 20, .. })
        ));
    }
    // An answer makes room.
    world
        .open()
        .deny(fit[0].as_ref().unwrap(), "ada", None)
        .unwrap();
    assert!(world.open().open_hold(&world.new_hold("z")).unwrap().fresh);
}

#[test]
fn what_was_asked_in_vain_is_counted_until_somebody_says_yes() {
    let world = World::new();
    let store = world.open();
    let new = world.new_hold("a");
    let host = new.action.request().target().host.clone();
    let operation = new.action.operations()[0].name.clone();
    let hour = Duration::from_secs(3600);
    let turned_down = || {
        let found = store
            .turned_down(&world.session, &host, &operation, hour)
            .unwrap();
        (found.of_kind, found.together)
    };
    let open = |name: &str| store.open_hold(&world.new_hold(name)).unwrap().hold.id;
    let first = open("a");
    assert_eq!(turned_down(), (0, 0));
    store.deny(&first, "ada", None).unwrap();
    let second = open("b");
    store.approve(&second, "ada", &json!({})).unwrap();
    // A yes that is taken back is a no.
    store.deny(&second, "ada", None).unwrap();
    assert_eq!(turned_down(), (2, 2));
    let other = OperationName::parse("railway.environmentDelete").unwrap();
    let of_another = store
        .turned_down(&world.session, &host, &other, hour)
        .unwrap();
    assert_eq!((of_another.of_kind, of_another.together), (0, 2));
    let stranger = SessionId::random().unwrap();
    let of_another = store
        .turned_down(&stranger, &host, &operation, hour)
        .unwrap();
    assert_eq!(of_another.together, 0);
    // Nobody answered.
    open("c");
    world.pass(Duration::from_secs(30 * 60));
    assert_eq!(turned_down(), (3, 3));
    let used = open("d");
    world.pass(Duration::from_secs(1));
    store.approve(&used, "ada", &json!({})).unwrap();
    assert!(store.use_once(&used).unwrap());
    assert_eq!(turned_down(), (0, 0));
    world.pass(Duration::from_secs(1));
    let last = open("e");
    store.deny(&last, "ada", None).unwrap();
    assert_eq!(turned_down(), (1, 1));
    world.pass(hour);
    assert_eq!(turned_down().0, 1, "to the millisecond");
    world.pass(Duration::from_millis(1));
    assert_eq!(turned_down(), (0, 0));
}

#[test]
fn a_hold_of_no_session_or_an_ended_one_is_refused() {
    let world = World::new();
    let store = world.open();
    let stranger = NewHold {
        session: SessionId::random().unwrap(),
        ..world.new_hold("a")
    };
    assert!(matches!(
        store.open_hold(&stranger),
        Err(StoreError::UnknownSession(_))
    ));
    store.end_session(&world.session, &ending()).unwrap();
    assert!(store.open_hold(&world.new_hold("a")).is_err());
    assert!(matches!(
        store.hold(&HoldId::random().unwrap()),
        Err(StoreError::UnknownHold(_))
    ));
}

/// Every state against every act: what is not an arrow is refused and changes nothing.
#[test]
fn states_change_along_the_arrows_only() {
    use HoldState::{Approved, Denied, Expired, Pending, Superseded, Used, Withdrawn};
    type Act = fn(&World, &HoldId);
    let acts: [(HoldState, Act); 6] = [
        (Approved, |world, id| {
            drop(approve(&world.open(), id, "ada"))
        }),
        (Denied, |world, id| drop(world.open().deny(id, "ada", None))),
        (Expired, |world, _| {
            world.pass(60 * MINUTE);
            world.open().expire_due().unwrap();
        }),
        (Used, |world, id| {
            world.open().use_once(id).unwrap();
        }),
        (Superseded, |world, id| drop(world.open().supersede(id))),
        (Withdrawn, |world, _| {
            world.open().end_session(&world.session, &ending()).unwrap();
        }),
    ];
    let act: BTreeMap<_, _> = acts.iter().map(|(to, act)| (to.as_str(), act)).collect();
    let mut arrows = 0;
    for from in HoldState::ALL {
        for (to, last) in &acts {
            let world = World::new();
            let id = world.hold("a");
            if from == Used {
                act["approved"](&world, &id);
            }
            if from != Pending {
                act[from.as_str()](&world, &id);
            }
            assert_eq!(world.state(&id), from);
            last(&world, &id);
            let arrow = match from {
                Pending => *to != Used,
                Approved => *to != Approved,
                _ => false,
            };
            arrows += usize::from(arrow);
            let expected = if arrow { *to } else { from };
            assert_eq!(world.state(&id), expected, "{from} -> {to}");
        }
    }
    assert_eq!(arrows, 10);
}

/// Nor can a statement of somebody else's, or one of ours that is wrong.
#[test]
fn the_schema_itself_keeps_the_arrows_and_what_was_shown() {
    let world = World::new();
    let id = world.hold("a");
    let store = world.open();
    let run = |sql: &str| store.connection.execute(sql, []);
    assert!(run("UPDATE holds SET state = 'used'").is_err());
    assert!(run("UPDATE holds SET digest = 'x'").is_err());
    assert!(run("UPDATE holds SET use_by = use_by + 1").is_err());
    assert!(run("UPDATE holds SET action = '{}'").is_err());
    assert!(run("DELETE FROM holds").is_err());
    approve(&store, &id, "ada").unwrap();
    assert!(store.use_once(&id).unwrap());
    for state in HoldState::ALL {
        assert!(
            run(&format!("UPDATE holds SET state = '{state}'")).is_err(),
            "{state}"
        );
    }
}

#[test]
fn a4_two_racing_retries_use_an_approval_once() {
    for _ in 0..10 {
        let world = World::new();
        let id = world.hold("a");
        approve(&world.open(), &id, "ada").unwrap();
        let target = id.clone();
        let used = race(&world, 8, move |_, store| store.use_once(&target).unwrap());
        assert_eq!(used.iter().filter(|used| **used).count(), 1);
    }
}

#[test]
fn a4_yes_and_no_at_once_have_one_winner_and_a_no_after_use_is_refused() {
    for _ in 0..10 {
        let world = World::new();
        let id = world.hold("a");
        let target = id.clone();
        let done = race(&world, 4, move |number, store| match number {
            0 | 1 => approve(store, &target, "ada").is_ok(),
            _ => store.deny(&target, "bob", Some("no")).is_ok(),
        });
        assert!(done[0] as u8 + done[1] as u8 <= 1);
        assert_eq!(
            done[2] as u8 + done[3] as u8,
            1,
            "one no wins, before or after the yes"
        );
        assert_eq!(world.state(&id), HoldState::Denied);
        assert!(!world.open().use_once(&id).unwrap());
    }
    let world = World::new();
    let id = world.hold("a");
    let store = world.open();
    approve(&store, &id, "ada").unwrap();
    assert!(store.use_once(&id).unwrap());
    let error = store.deny(&id, "bob", None).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("hold {id} is used and cannot be denied")
    );
}

#[test]
fn a4_a5_holds_answers_and_uses_survive_a_restart() {
    let world = World::new();
    let id = world.hold("a");
    assert_eq!(world.state(&id), HoldState::Pending);
    approve(&world.open(), &id, "ada").unwrap();
    let hold = world.open().hold(&id).unwrap();
    assert_eq!(hold.state, HoldState::Approved);
    assert_eq!(hold.answered_by.as_deref(), Some("ada"));
    assert!(world.open().use_once(&id).unwrap());
    assert!(!world.open().use_once(&id).unwrap());
    // The same action again is a new hold, not the used one.
    let again = world.open().open_hold(&world.new_hold("a")).unwrap();
    assert!(again.fresh && again.hold.id != id);
}

#[test]
fn a3_a5_nobody_answers_in_time() {
    let world = World::new();
    let id = world.hold("a");
    let waiting = world.open();
    world.pass(30 * MINUTE - Duration::from_millis(1));
    assert_eq!(waiting.expire_due().unwrap(), 0);
    world.pass(Duration::from_millis(1));
    let error = approve(&world.open(), &id, "ada").unwrap_err();
    assert!(matches!(
        error,
        StoreError::NotPossible {
            state: HoldState::Expired,
            ..
        }
    ));
    assert_eq!(world.state(&id), HoldState::Expired);
}

#[test]
fn a3_an_approval_that_nobody_uses_expires_even_without_a_look() {
    let world = World::new();
    let id = world.hold("a");
    let store = world.open();
    approve(&store, &id, "ada").unwrap();
    world.pass(60 * MINUTE);
    // Nothing has expired it yet: the use itself looks at the time.
    assert!(!store.use_once(&id).unwrap());
    assert_eq!(world.state(&id), HoldState::Expired);
}

#[test]
fn a_use_is_never_due_before_its_decision() {
    let world = World::new();
    let new = NewHold {
        use_within: MINUTE,
        ..world.new_hold("a")
    };
    let hold = world.open().open_hold(&new).unwrap().hold;
    assert_eq!(hold.use_by, hold.decide_by);
}

#[test]
fn a_clock_set_back_an_hour_makes_no_deadline_grow() {
    let world = World::new();
    let id = world.hold("a");
    let running = world.open();
    world.pass(29 * MINUTE);
    running.expire_due().unwrap();
    world.set_wall_back(60 * MINUTE);
    // A process that starts now goes on from the latest time that anybody saw …
    assert!(
        world.open().now().unwrap() >= Timestamp::from_millis(1_776_988_800_000).plus(29 * MINUTE)
    );
    assert_eq!(world.state(&id), HoldState::Pending);
    // … and for one that runs the time goes on by the clock that nobody sets.
    world.pass(MINUTE);
    assert_eq!(running.expire_due().unwrap(), 1);
    assert_eq!(world.state(&id), HoldState::Expired);
}

#[test]
fn a6_two_approvers_are_two() {
    let world = World::new();
    let new = NewHold {
        approvers: 2,
        ..world.new_hold("a")
    };
    let store = world.open();
    let id = store.open_hold(&new).unwrap().hold.id;
    assert_eq!(approve(&store, &id, "ada").unwrap(), HoldState::Pending);
    assert!(!store.use_once(&id).unwrap());
    assert!(matches!(
        approve(&store, &id, "ada"),
        Err(StoreError::SameApprover { .. })
    ));
    assert_eq!(approve(&store, &id, "bob").unwrap(), HoldState::Approved);
    let who: Vec<_> = store.approvals(&id).unwrap();
    let who: Vec<_> = who.iter().map(|given| given.approver.as_str()).collect();
    assert_eq!(who, ["ada", "bob"]);
    assert!(store.use_once(&id).unwrap());
}

#[test]
fn a_refused_approval_leaves_no_row() {
    let world = World::new();
    let id = world.hold("a");
    let store = world.open();
    store.deny(&id, "bob", Some("not today")).unwrap();
    assert!(approve(&store, &id, "ada").is_err());
    assert_eq!(store.approvals(&id).unwrap(), []);
    let hold = store.hold(&id).unwrap();
    assert_eq!(hold.reason.as_deref(), Some("not today"));
}

#[test]
fn holds_are_listed_by_session_and_state() {
    let world = World::new();
    let store = world.open();
    let (a, b) = (world.hold("a"), world.hold("b"));
    store.deny(&b, "ada", None).unwrap();
    let listed = |session: Option<&SessionId>, states: &[HoldState]| -> Vec<HoldId> {
        let holds = store.holds(session, states).unwrap();
        holds.into_iter().map(|hold| hold.id).collect()
    };
    assert_eq!(listed(None, &[]), [a.clone(), b.clone()]);
    assert_eq!(
        listed(Some(&world.session), &[HoldState::Pending]),
        std::slice::from_ref(&a)
    );
    assert_eq!(
        listed(None, &[HoldState::Pending, HoldState::Denied]),
        [a.clone(), b]
    );
    assert_eq!(listed(Some(&SessionId::random().unwrap()), &[]), []);
    let found = store.open_hold_by_digest(&world.session, Digest::of(b"a"));
    assert_eq!(found.unwrap().unwrap().id, a);
    let denied = store.open_hold_by_digest(&world.session, Digest::of(b"b"));
    assert_eq!(denied.unwrap(), None);
}

#[test]
fn a_row_that_somebody_damaged_is_an_error() {
    let world = World::new();
    let id = world.hold("a");
    let store = world.open();
    store
        .connection
        .execute_batch("DROP TRIGGER holds_keep_what_was_shown")
        .unwrap();
    for column in [
        "session",
        "digest",
        "action",
        "effect",
        "flags",
        "resources",
        "preview",
    ] {
        let kept: String = store
            .connection
            .query_row(&format!("SELECT {column} FROM holds"), [], |row| row.get(0))
            .unwrap();
        let set = format!("UPDATE holds SET {column} = ?1");
        store
            .connection
            .execute("PRAGMA foreign_keys = false", [])
            .unwrap();
        store.connection.execute(&set, ["\u{1b}[31m{"]).unwrap();
        let error = store.hold(&id).unwrap_err();
        assert!(
            matches!(error, StoreError::Unreadable(_)),
            "{column}: {error}"
        );
        assert!(!error.to_string().contains('\u{1b}'));
        store.connection.execute(&set, [kept]).unwrap();
    }
    assert!(store.hold(&id).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever people and time do in whatever order, an approval is used at most once, and only
    /// between a yes and its end.
    #[test]
    fn any_history_uses_an_approval_at_most_once(acts in proptest::collection::vec(0u8..7, 1..14)) {
        let world = World::new();
        let id = world.hold("a");
        let store = world.open();
        let mut uses = 0;
        let mut usable = false;
        for act in acts {
            match act {
                0 => usable |= approve(&store, &id, "ada").is_ok(),
                1 if store.deny(&id, "bob", None).is_ok() => usable = false,
                2 if store.supersede(&id).is_ok() => usable = false,
                3 => {
                    world.pass(25 * MINUTE);
                }
                4 => world.set_wall_back(10 * MINUTE),
                5 | 6 if store.use_once(&id).unwrap() => {
                    prop_assert!(usable);
                    usable = false;
                    uses += 1;
                }
                _ => {}
            }
        }
        prop_assert!(uses <= 1);
    }

    #[test]
    fn any_text_survives(text in any::<String>()) {
        let world = World::new();
        let new = NewHold {
            summary: text.clone(),
            preview: vec![text.clone()],
            shown: text.clone(),
            ..world.new_hold("a")
        };
        let hold = world.open().open_hold(&new).unwrap().hold;
        prop_assert_eq!(&hold.summary, &text);
        prop_assert_eq!(&hold.preview, &vec![text.clone()]);
        prop_assert_eq!(hold.shown_digest(), Digest::of(text.as_bytes()));
    }
}
