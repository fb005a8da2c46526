//! What the command keeps: folders of its own that outlive it, and files that it may replace.

#[allow(dead_code, unreachable_pub)]
mod support;

use std::path::Path;

use support::{Place, as_root_and_as_ordinary_user, run};
use tagout_sandbox::{OverlayFile, PrivateFolder, launch};

fn with_folder(place: &Place, script: &str) -> tagout_sandbox::Spec {
    let outside = place.path("outside").join("kept");
    std::fs::create_dir_all(outside.join("deep")).unwrap();
    std::fs::write(outside.join("deep/old"), "old\n").unwrap();
    let mut spec = place.spec(script);
    spec.private_folders =
        vec![PrivateFolder::open(&outside, place.path("home").join(".agent/state")).unwrap()];
    spec.copies = vec![OverlayFile {
        path: place.path("home").join(".agent.json"),
        bytes: b"as it was\n".to_vec(),
        mode: 0o600,
    }];
    spec
}

#[test]
fn what_is_written_in_a_private_folder_stays_and_a_copy_can_be_replaced() {
    as_root_and_as_ordinary_user(
        "what_is_written_in_a_private_folder_stays_and_a_copy_can_be_replaced",
        || {
            let place = Place::new();
            let outcome = run(with_folder(
                &place,
                "cd ~ && cat .agent.json .agent/state/deep/old && stat -c '%a %U' .agent.json | cut -c1-3 \
                 && echo new > .tmp && mv .tmp .agent.json && cat .agent.json \
                 && echo more >> .agent/state/deep/old && mv .agent/state/deep/old .agent/state/moved",
            ));
            assert_eq!(outcome.output, "as it was\nold\n600\nnew\n", "{outcome:?}");
            let kept = place.path("outside").join("kept/moved");
            assert_eq!(std::fs::read_to_string(kept).unwrap(), "old\nmore\n");
            assert!(!place.path("home").join(".agent.json").exists());
        },
    );
}

#[test]
fn invariant_3_a_private_folder_leads_nowhere() {
    as_root_and_as_ordinary_user("invariant_3_a_private_folder_leads_nowhere", || {
        let place = Place::new();
        let secret = place.path("outside").join("secret");
        std::fs::write(&secret, "hunter2").unwrap();
        let outcome = run(with_folder(
            &place,
            "cd ~/.agent/state && ls -A .. ../.. ; cat ../secret ../../outside/secret; chmod 4755 deep/old; \
             mknod device c 1 3; ln -s ../secret link; cat link; exit 0",
        ));
        assert!(!outcome.output.contains("hunter2"), "{outcome:?}");
        let mode = std::fs::metadata(place.path("outside").join("kept/deep/old")).unwrap();
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&mode) & 0o6000, 0);
        assert!(!place.path("outside").join("kept/device").exists());
    });
}

#[test]
fn a_private_folder_that_was_exchanged_is_refused() {
    let place = Place::new();
    let spec = with_folder(&place, "true");
    let kept = place.path("outside").join("kept");
    std::fs::rename(&kept, place.path("outside").join("away")).unwrap();
    std::os::unix::fs::symlink(Path::new("/etc"), &kept).unwrap();
    assert!(launch(spec).is_err());
}
