use std::io::{BufRead, BufReader};

use super::*;

/// What is counted, with the supervisor's end of its questions.
struct World {
    losses: Losses,
    asked: BufReader<UnixStream>,
}

fn file(number: u64) -> Identity {
    (1, number, 0, 0)
}

fn path(name: &str) -> PathBuf {
    // A folder above the tree that is named like one of build output.
    Path::new("/build/w").join(name)
}

impl World {
    fn new() -> World {
        let (questions, asked) = UnixStream::pair().unwrap();
        let losses = Losses::new(questions, &[PathBuf::from("/build/w")], &[]);
        let asked = BufReader::new(asked);
        World { losses, asked }
    }

    /// As the keeper does it: `Ok(true)` where the loss was counted.
    fn remove(&mut self, name: &str, number: u64) -> Result<bool, Stop> {
        let (path, file) = (path(name), file(number));
        if !self.losses.counts(&path, &file) {
            return Ok(false);
        }
        self.losses.may_go(&path)?;
        self.losses.losing(&path, &file, None);
        self.losses.happened(None);
        Ok(true)
    }

    fn create(&mut self, name: &str, number: u64) {
        self.losses.bearing(&path(name));
        self.losses.happened(Some(file(number)));
    }

    fn rename(&mut self, from: &str, number: u64, to: &str, replaced: bool) {
        let from = path(from);
        self.losses
            .renaming((&from, file(number)), &path(to), replaced);
        self.losses.happened(None);
    }

    fn move_folder(&mut self, from: &str, to: &str) {
        self.losses.moving(&path(from), &path(to), false);
        self.losses.happened(None);
    }

    fn question(&mut self) -> Question {
        let mut line = String::new();
        self.asked.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn answer(&mut self, answer: &Answer) {
        self.losses
            .answered(&serde_json::to_string(answer).unwrap());
    }

    /// Removes files until it has to wait; how many went.
    fn remove_many(&mut self, folder: &str) -> u64 {
        (0..1000)
            .find(|number| self.remove(&format!("{folder}/f{number}"), *number) == Err(Stop::Waits))
            .unwrap_or(1000)
    }
}

#[test]
fn a_few_go_and_then_somebody_is_asked_once() {
    let mut world = World::new();
    assert_eq!(world.remove_many("src"), FEW);
    assert_eq!(world.remove("other", 5000), Err(Stop::Waits), "beside it");
    let question = world.question();
    assert_eq!((question.missing, question.gone.len()), (FEW, FEW as usize));
    world.answer(&Answer::Below(20));
    assert_eq!(world.remove_many("more"), 20 - FEW);
    assert_eq!(
        world.question().gone.len(),
        20 - FEW as usize,
        "each is told of once"
    );
    world.answer(&Answer::Refused("why".into()));
    let told = Stop::Told(Errno::PERM, "why".into());
    assert_eq!(world.remove("x", 6000), Err(told));
    assert_eq!(world.remove("y", 6001), Err(Stop::Fails(Errno::PERM)));
    world.losses.state = State::Refused(Instant::now() - 2 * REFUSED_FOR);
    assert_eq!(world.remove("y", 6001), Err(Stop::Waits), "asked again");
    world.answer(&Answer::Approved);
    assert_eq!(world.remove_many("rest"), 1000);
    world.losses.state = State::Approved(Instant::now() - 2 * BURST_ENDS_AFTER);
    assert_eq!(
        world.remove_many("later"),
        FEW,
        "an approval ends with its burst"
    );
    let _retry = world.question();
    assert_eq!(world.question().approved, 1000 + 20);
}

#[test]
fn what_cannot_be_read_is_a_no() {
    let mut world = World::new();
    world.remove_many("src");
    world.losses.answered("{");
    let refused = world.remove("x", 6000);
    assert!(
        matches!(refused, Err(Stop::Told(Errno::PERM, _))),
        "{refused:?}"
    );
}

#[test]
fn what_came_in_the_session_and_build_output_go_freely() {
    let mut world = World::new();
    for number in 0..500 {
        let name = format!("new/f{number}");
        world.create(&name, number);
        assert_eq!(world.remove(&name, number), Ok(false));
    }
    for number in 0..500 {
        let name = format!("web/node_modules/a/f{number}");
        assert_eq!(world.remove(&name, 1000 + number), Ok(false));
    }
    assert_eq!(world.remove("build", 5000), Ok(true), "a file of that name");
}

#[test]
fn what_git_writes_again_is_no_loss_and_counts_when_it_goes_after_all() {
    let mut world = World::new();
    for number in 0..500 {
        let name = format!("src/f{number}");
        assert_eq!(world.remove(&name, number), Ok(true));
        world.create(&name, 1000 + number);
    }
    // Saving by renaming a new file over the one from before.
    for number in 0..500 {
        let (name, new) = (format!("doc/f{number}"), format!("doc/f{number}~"));
        world.create(&new, 3000 + number);
        world.rename(&new, 3000 + number, &name, true);
    }
    assert!(world.losses.missing.is_empty());
    let went = (0..500).find(|number| {
        world
            .remove(&format!("doc/f{number}"), 3000 + number)
            .is_err()
    });
    assert_eq!(went, Some(FEW));
}

#[test]
fn a_file_counts_wherever_it_is_moved_first() {
    let mut world = World::new();
    world.move_folder("src", "target/src");
    assert_eq!(world.remove("target/src/a", 1), Ok(true), "a folder");
    world.rename("b", 2, "dist/b", false);
    assert_eq!(world.remove("dist/b", 2), Ok(true), "a file");
    world.move_folder("node_modules", "old");
    assert_eq!(world.remove("old/c", 3), Ok(false));
    world.losses.moving(&path("lib"), &path("dist"), true);
    world.losses.happened(None);
    assert_eq!(world.remove("dist/d", 4), Ok(true), "places changed");
    assert_eq!(world.remove("lib/e", 5), Ok(false));
    // Of files that are renamed over each other one is left.
    for number in 10..17 {
        world.rename(&format!("f{number}"), number, "last", true);
    }
    assert_eq!(world.losses.missing.len(), 3 + 7);
}

#[test]
fn a_repository_does_not_go_with_a_few_files() {
    let mut world = World::new();
    for name in [".git/HEAD", "sub/.git/objects/pack/pack-1.pack"] {
        assert_eq!(world.remove(name, 1), Err(Stop::Waits));
        let question = world.question();
        assert_eq!(question.pillar.unwrap().path(), path(name));
        world.answer(&Answer::Below(5));
        assert_eq!(world.remove(name, 1), Ok(true));
    }
    assert_eq!(world.remove("docs/HEAD", 2), Ok(true));
}
