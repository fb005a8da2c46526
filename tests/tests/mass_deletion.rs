//! Many files that go at once wait for a person; what an everyday session removes does not.

use std::fs;
use std::path::Path;

use tagout_tests::remote::answer;
use tagout_tests::{Finished, Person, World, finish, for_each_person};

/// Files that git does not hold, and as many that it does.
const FILES: usize = 150;

fn project(person: Person) -> World {
    let world = World::new(person);
    world.write(".gitignore", "node_modules/\n/data/\n");
    for number in 0..FILES {
        world.write(
            &format!("src/m{}/f{number}", number % 5),
            &format!("{number}\n"),
        );
    }
    world.commit("first");
    for number in 0..FILES {
        world.write(
            &format!("data/d{}/f{number}", number % 5),
            &format!("data {number}\n"),
        );
    }
    world.person().own(&world.workspace());
    world
}

/// How many files are in a folder.
fn count(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => count(&entry.path()),
            false => 1,
        })
        .sum()
}

fn left(world: &World) -> (usize, usize) {
    let top = world.workspace();
    (count(&top.join("src")), count(&top.join("data")))
}

fn run(world: &World, line: &str) -> Finished {
    finish(&mut world.run_command(&["--hold-wait", "0"], line))
}

for_each_person! {
    fn invariant_10_a_workspace_is_wiped_once_a_person_said_so(person: Person) {
        let world = project(person);
        let mut command = world.run_command(&["--hold-wait", "100"], "rm -rf ./*; ls");
        let running = world.start(&mut command);
        let (hold, shown) = answer(&world, "fs.delete_many", "approve");
        let finished = running.end();
        assert_eq!(left(&world), (0, 0), "{finished}");
        assert_eq!(hold["action"]["effect"], "destructive");
        for fact in ["git does not hold", "tagout undo s-", "data (", "src ("] {
            assert!(shown.contains(fact) || fact.ends_with('('), "{fact}: {shown}");
        }
        // One approval was enough, and it is over with its session.
        assert_eq!(world.json(&["holds"]).iter().filter(|hold| hold["state"] == "pending").count(), 0);
        let id = world.sessions()[0].clone();
        world.tagout(&["undo", &id]).success();
        assert_eq!(left(&world), (FILES, FILES));
    }
}

for_each_person! {
    fn invariant_10_a_no_leaves_the_files_and_says_so_inside(person: Person) {
        let world = project(person);
        let line = "rm -rf data src 2>errors; grep -c 'not permitted' errors; cat errors >&2; \
                    echo new > new && rm new && echo still at work";
        let mut command = world.run_command(&["--hold-wait", "100"], line);
        let running = world.start(&mut command);
        answer(&world, "fs.delete_many", "deny");
        let finished = running.end();
        let (src, data) = left(&world);
        assert!(src + data >= FILES, "{src} and {data} {finished}");
        assert!(finished.stdout.contains("still at work"), "{finished}");
        assert!(finished.stderr.contains("a person denied it"), "{finished}");
        assert_eq!(finished.stderr.matches("a person denied it").count(), 1, "said once: {finished}");
    }
}

#[test]
fn invariant_10_an_agent_is_told_how_to_go_on_and_a_retry_passes_once_approved() {
    let world = project(Person::ordinary());
    // What nobody answers in time is refused; the next attempt joins the same hold.
    let line = "rm -rf data 2>errors; cat errors; mkfifo ask; echo > ready; cat ask; \
                until rm -rf data 2>/dev/null; do :; done; echo gone";
    let mut command = world.run_command(&["--hold-wait", "1"], line);
    let running = world.start(&mut command);
    let ready = world.workspace().join("ready");
    tagout_tests::eventually("the refusal", || ready.exists());
    assert!(left(&world).1 > 0);
    answer(&world, "fs.delete_many", "approve");
    fs::write(world.workspace().join("ask"), "").unwrap();
    let finished = running.end().success();
    assert!(finished.stdout.contains("tagout approve h-"), "{finished}");
    assert!(finished.stdout.contains("gone"), "{finished}");
    assert_eq!(left(&world), (FILES, 0), "{finished}");
}

#[test]
fn invariant_10_every_way_to_lose_many_files_is_held() {
    const WAYS: &[&str] = &[
        "rm -rf data",
        "find data -type f -delete",
        "git clean -fdxq",
        "python3 -c 'import shutil; shutil.rmtree(\"data\")'",
        "rm -rf data/d0 data/d1 data/d2 & rm -rf data/d3 data/d4; wait; false",
        // Out of the way first, into what may go freely.
        "mkdir node_modules; mv data node_modules/data; rm -rf node_modules; false",
        "mkdir dist; mv data/*/* dist/; rm -rf dist",
        // Over each other, so that one is left.
        "for f in data/*/*; do mv $f data/last || exit 1; done",
        // Into a file system of the session's own.
        "mv data /tmp/data",
        // By a name that came in the session.
        "for f in data/*/*; do cp $f copy; mv copy $f; rm $f || exit 1; done",
    ];
    for way in WAYS {
        let world = project(Person::ordinary());
        let finished = run(&world, way);
        assert_ne!(finished.status, 0, "{way}: {finished}");
        let pending = world.json(&["holds"]);
        assert_eq!(pending.len(), 1, "{way}: {pending:?}");
        let top = world.workspace();
        let kept: usize = ["data", "node_modules", "dist"]
            .iter()
            .map(|folder| count(&top.join(folder)))
            .sum();
        assert!(kept >= FILES - 100, "{way}: {kept} are left");
    }
}

#[test]
fn a_repository_is_not_removed_unasked() {
    let world = project(Person::ordinary());
    for line in ["rm -rf .git", "git gc -q; rm -rf .git"] {
        let finished = run(&world, line);
        assert_ne!(finished.status, 0, "{line}: {finished}");
        assert!(
            world.workspace().join(".git/HEAD").exists(),
            "{line}: {finished}"
        );
    }
    assert_eq!(world.json(&["holds"]).len(), 2);
}

for_each_person! {
    fn an_everyday_session_asks_nobody(person: Person) {
        let world = project(person);
        world.git(&["checkout", "-q", "-b", "other"]);
        for number in 0..FILES {
            world.write(&format!("src/m{}/f{number}", number % 5), &format!("other {number}\n"));
        }
        world.git(&["rm", "-qrf", "src/m4"]);
        world.commit("other");
        world.git(&["checkout", "-q", "-"]);
        for number in 0..500 {
            world.write(&format!("node_modules/p{number}/index.js"), "module\n");
            world.write(&format!("web/dist/o{number}.js"), "built\n");
            world.write(&format!("target/debug/o{number}.o"), "built\n");
        }
        world.person().own(&world.workspace());
        let line = "set -ex; git checkout -q other; git checkout -q -; git stash -q || true; \
            sed -i s/1/2/ src/*/*; git checkout -q .; git reset -q --hard; git repack -adq; git gc -q; \
            rm -rf node_modules web/dist; mv target old; rm -rf old; \
            for n in $(seq 300); do echo x > new$n; done; rm new*; \
            git rm -qr src/m0 src/m1; git reset -q --hard; \
            mv src sources; mv sources src; cp -r src copy; rm -rf copy; rm data/d0/*; echo done";
        let finished = run(&world, line).success();
        assert!(finished.stdout.contains("done"), "{finished}");
        assert_eq!(world.json(&["holds"]), Vec::<serde_json::Value>::new(), "{finished}");
    }
}
