//! Approval fatigue: a person who said no a few times is not asked the same in other words.

#[allow(dead_code)]
mod world;

use world::{HOST, World};

async fn delete(world: &World, path: &str) -> serde_json::Value {
    let request = format!("DELETE {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let answer = world.ask(&request).await;
    match answer.status {
        200 => serde_json::Value::Null,
        _ => answer.refusal(),
    }
}

#[tokio::test]
async fn invariant_7_nobody_is_asked_until_they_are_tired() {
    let world = World::start().await;
    let waits = delete(&world, "/waits").await;
    assert_eq!(waits["error"], "tagout_held");
    let waits = waits["hold"].as_str().unwrap().parse().unwrap();
    for number in 0..5 {
        let held = delete(&world, &format!("/thing?variation={number}")).await;
        assert_eq!(held["error"], "tagout_held", "{number}: {held}");
        let hold = held["hold"].as_str().unwrap().parse().unwrap();
        world.authority.deny(&hold);
    }
    // The sixth in other words is nobody's to answer, and the ledger says so.
    let refused = delete(&world, "/thing?variation=5").await;
    assert_eq!(refused["error"], "tagout_denied", "{refused}");
    assert_eq!(refused["operation"], "http.DELETE");
    let reason = refused["reason"].as_str().unwrap();
    assert!(
        reason.contains("5 requests for http.DELETE on this host"),
        "{reason}"
    );
    assert!(refused["hold"].is_null());
    let verdict = world.authority.wait_for("verdict", 1).await.pop().unwrap();
    assert_eq!(
        (&verdict["verdict"], &verdict["reason"]),
        (&"deny".into(), &reason.into())
    );
    assert_eq!(world.authority.waiting(), [waits]);
    // What waits already can be joined, and a yes to it lifts the limit.
    assert_eq!(delete(&world, "/waits").await["error"], "tagout_held");
    world.authority.approve(&world.authority.waiting()[0]);
    assert!(delete(&world, "/waits").await.is_null());
    assert_eq!(
        delete(&world, "/thing?variation=5").await["error"],
        "tagout_held"
    );
    assert_eq!(world.origin.count(), 1);
}
