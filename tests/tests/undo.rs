//! Invariant 10: what a session destroys in its workspace can be restored, byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tagout_tests::remote::answer;
use tagout_tests::{Finished, World, finish, for_each_person};

/// Everything that is below a folder: kind and mode, time in nanoseconds, what is in it.
type Tree = BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)>;

fn look(top: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut open = vec![top.to_path_buf()];
    while let Some(path) = open.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let kind = metadata.file_type();
        let mut content = Vec::new();
        if kind.is_dir() {
            for entry in fs::read_dir(&path).unwrap() {
                open.push(entry.unwrap().path());
            }
        } else if kind.is_symlink() {
            content = fs::read_link(&path)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes();
        } else if kind.is_file() {
            content = fs::read(&path).unwrap();
        }
        let place = path.strip_prefix(top).unwrap().to_path_buf();
        let mut what = (
            metadata.mode(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            content,
        );
        // Tagout's own placeholders come and go in these two, before the session and after it.
        if place == Path::new("") || place == Path::new(".git") {
            (what.1, what.2) = (0, 0);
        }
        tree.insert(place, what);
    }
    tree
}

/// The differences, for a person.
#[track_caller]
fn assert_same(before: &Tree, after: &Tree) {
    let places: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let short = |what: Option<&(u32, i64, i64, Vec<u8>)>| {
        what.map(|(mode, seconds, nanoseconds, content)| {
            let text = String::from_utf8_lossy(content)
                .chars()
                .take(60)
                .collect::<String>();
            format!(
                "{mode:o} {seconds}.{nanoseconds:09} {} {text:?}",
                content.len()
            )
        })
    };
    let differing: Vec<_> = places
        .into_iter()
        .filter(|place| before.get(*place) != after.get(*place))
        .map(|place| (place, short(before.get(place)), short(after.get(place))))
        .collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

/// A repository with commits, changes that are not committed, files that git does not know, and files that it ignores.
fn dirty(world: &World) {
    let top = world.workspace();
    for number in 0..40 {
        world.write(
            &format!("src/part{}/file{number}", number % 4),
            &format!("{number}\n"),
        );
    }
    world.write(".gitignore", "ignored/\n*.log\n");
    world.write("run.sh", "#!/bin/sh\necho run\n");
    symlink("src/part1", top.join("link")).unwrap();
    symlink("nowhere", top.join("dangling")).unwrap();
    world.commit("first");
    world.write("src/part0/file0", "changed and not committed\n");
    world.write("src/part1/file1", "changed and staged\n");
    world.git(&["add", "src/part1/file1"]);
    fs::remove_file(top.join("src/part2/file2")).unwrap();
    world.write(
        "untracked/deep/er/file",
        "nobody has this but this folder\n",
    );
    world.write("ignored/build.bin", &"x".repeat(300_000));
    world.write("a.log", "log\n");
    fs::create_dir(top.join("empty")).unwrap();
    let mode = |path: &str, mode| {
        fs::set_permissions(top.join(path), fs::Permissions::from_mode(mode)).unwrap()
    };
    mode("run.sh", 0o755);
    mode("a.log", 0o600);
    mode("untracked/deep", 0o700);
    let time = |path: &str, seconds| {
        let time =
            std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(seconds, 123_456_789);
        fs::File::open(top.join(path))
            .unwrap()
            .set_modified(time)
            .unwrap();
    };
    time("untracked/deep/er/file", 1_000_000_000);
    time("run.sh", 1_100_000_000);
    time("ignored", 1_200_000_000);
    world.person().own(&top);
}

fn run(world: &World, line: &str) -> Finished {
    finish(&mut world.run_command(&[], line))
}

/// As [`run`], of a line that deletes so much that a person is asked, once.
fn run_approved(world: &World, line: &str) -> Finished {
    let mut command = world.run_command(&["--hold-wait", "100"], line);
    let running = world.start(&mut command);
    answer(world, "fs.delete_many", "approve");
    running.end()
}

/// The one session that there is.
fn session(world: &World) -> String {
    let sessions = world.sessions();
    assert_eq!(sessions.len(), 1, "{sessions:?}");
    sessions[0].clone()
}

for_each_person! {
    fn invariant_10_a_workspace_that_was_wiped_is_undone_to_identical_bytes(person: Person) {
        let world = World::new(person);
        dirty(&world);
        let before = look(&world.workspace());
        let line = "git reset -q --hard && git clean -qfdx; rm -rf ./* ./.[!.]* 2>/dev/null; ls -A; echo new > new; mkdir -p d/e; mv new d/e/f";
        let finished = run_approved(&world, line);
        assert!(!world.workspace().join("src").exists(), "{finished}");
        assert_eq!(world.read("d/e/f").as_deref(), Some("new\n"), "{finished}");
        let id = session(&world);
        let listed = world.tagout(&["undo", &id, "--list"]).success();
        assert!(listed.stdout.contains("deleted"), "{listed}");
        assert!(listed.stdout.contains("untracked/deep/er/file"), "{listed}");
        let wiped = look(&world.workspace());
        world.tagout(&["undo", &id, "--dry-run"]).success();
        assert_same(&wiped, &look(&world.workspace()));
        world.tagout(&["undo", &id]).success();
        assert_same(&before, &look(&world.workspace()));
        world.assert_nothing_left();
    }
}

for_each_person! {
    fn invariant_10_every_way_of_losing_a_file_is_undone(person: Person) {
        let world = World::new(person);
        dirty(&world);
        let before = look(&world.workspace());
        let finished = run(
            &world,
            "set -e; cd src; \
             echo over > part0/file0; printf x >> part0/file4; : > part0/file8; truncate -s 3 part0/file12; \
             cp part1/file1 part1/file5; mv part1/file9 part1/file13; mv part1 moved; ln part2/file6 hard; rm part2/file6; echo hard > hard; \
             sed -i s/1/2/ part2/file10; dd if=/dev/zero of=part2/file14 bs=2 count=1 conv=notrunc 2>/dev/null; \
             python3 -c 'import os,mmap; f=os.open(\"part3/file3\",os.O_RDWR); m=mmap.mmap(f,2); m[0:1]=b\"z\"; m.flush(); os.rename(\"part3/file7\",\"part3/a\"); os.rename(\"part3/file11\",\"part3/file7\"); os.rename(\"part3/a\",\"part3/file11\")'; \
             chmod 000 part3/file15; rm -f part3/file15; rmdir ../empty; rm ../link; ln -s other ../link; chmod 700 ../untracked; touch ../run.sh; \
             mkdir ../d; mv ../untracked/deep ../d; echo more > ../d/deep/er/file; echo x > ../d/x; rm -r ../ignored; echo ok",
        );
        assert!(finished.stdout.contains("ok"), "{finished}");
        let after = look(&world.workspace());
        assert_ne!(before, after);
        let id = session(&world);
        // One file first, then a folder, then everything.
        world.tagout(&["undo", &id, "src/part0/file8"]).success();
        assert_eq!(world.read("src/part0/file8").as_deref(), Some("8\n"));
        assert_eq!(world.read("src/part0/file0").as_deref(), Some("over\n"));
        world.tagout(&["undo", &id, "ignored"]).success();
        assert_eq!(world.read("ignored/build.bin").map(|text| text.len()), Some(300_000));
        world.tagout(&["undo", &id]).success();
        assert_same(&before, &look(&world.workspace()));
        let again = world.tagout(&["undo", &id, "no/such/file"]);
        assert_ne!(again.status, 0, "{again}");
    }
}

for_each_person! {
    fn invariant_10_what_the_host_changed_since_is_left_unless_forced(person: Person) {
        let world = World::new(person);
        dirty(&world);
        run(&world, "echo session > src/part0/file0; rm a.log; echo session > run.sh; echo new > new");
        world.write("src/part0/file0", "the person's\n");
        world.write("a.log", "the person's\n");
        world.write("new", "the person's\n");
        let id = session(&world);
        let undone = world.tagout(&["undo", &id]);
        assert_eq!(undone.status, 1, "{undone}");
        for path in ["src/part0/file0", "a.log", "new"] {
            assert_eq!(world.read(path).as_deref(), Some("the person's\n"), "{path} {undone}");
            assert!(undone.stderr.contains(path), "{undone}");
        }
        assert_eq!(world.read("run.sh").as_deref(), Some("#!/bin/sh\necho run\n"), "{undone}");
        world.tagout(&["undo", &id, "--force"]).success();
        assert_eq!(world.read("a.log").as_deref(), Some("log\n"));
        assert_eq!(world.read("src/part0/file0").as_deref(), Some("changed and not committed\n"));
        assert_eq!(world.read("new"), None);
    }
}

for_each_person! {
    fn invariant_10_undo_follows_no_link_that_the_session_laid(person: Person) {
        let world = World::new(person);
        dirty(&world);
        let outside = world.home().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file4"), "the home's\n").unwrap();
        world.person().own(&outside);
        let line = format!("echo x > src/part0/file4; mv src/part0 src/old; ln -s {} src/part0; rm -r untracked", outside.display());
        run(&world, &line);
        let id = session(&world);
        // As if the session had ended here; then the link is back, for whoever follows it.
        let undone = world.tagout(&["undo", &id]).success();
        assert_eq!(fs::read_to_string(outside.join("file4")).unwrap(), "the home's\n", "{undone}");
        assert_eq!(world.read("src/part0/file4").as_deref(), Some("4\n"), "{undone}");
        run(&world, "echo x > src/part0/file4");
        let id = world.sessions().into_iter().find(|other| *other != id).unwrap();
        fs::rename(world.workspace().join("src/part0"), world.workspace().join("src/old")).unwrap();
        symlink(&outside, world.workspace().join("src/part0")).unwrap();
        let undone = world.tagout(&["undo", &id, "--force"]);
        assert_eq!(fs::read_to_string(outside.join("file4")).unwrap(), "the home's\n", "{undone}");
        assert_ne!(undone.status, 0, "{undone}");
    }
}

for_each_person! {
    fn invariant_10_a_killed_supervisor_leaves_what_can_be_undone(person: Person) {
        let world = World::new(person);
        dirty(&world);
        let before = look(&world.workspace());
        let mut command = world.run_command(&[], "rm -r untracked src; echo > done; exec sleep 1000");
        let running = world.start(&mut command);
        answer(&world, "fs.delete_many", "approve");
        let done = world.workspace().join("done");
        tagout_tests::eventually("the files are gone", || done.exists());
        running.kill();
        world.tagout(&["sessions"]).success();
        let id = session(&world);
        world.tagout(&["undo", &id]).success();
        assert_same(&before, &look(&world.workspace()));
    }
}

for_each_person! {
    fn invariant_10_a_folder_that_becomes_bulk_is_not_lost_unseen(person: Person) {
        let world = World::new(person);
        dirty(&world);
        world.manifest("[task]\nname = \"t\"\n[workspace]\nbulk = [\"node_modules\"]\n");
        world.write("node_modules/old/index.js", "old\n");
        let before = look(&world.workspace());
        // What is in a bulk folder is free; what is moved into one was copied, and is kept where it came from.
        let line = "set -e; mv src node_modules/src; mkdir sub; mv untracked sub/node_modules; mv run.sh node_modules/; \
             rm -rf node_modules sub; mkdir node_modules; echo new > node_modules/new";
        let finished = run_approved(&world, line).success();
        let id = session(&world);
        let listed = world.tagout(&["undo", &id, "--list"]).success();
        assert!(!listed.stdout.contains("node_modules/new"), "{listed} {finished}");
        world.tagout(&["undo", &id]).success();
        let bulk = |tree: Tree| -> Tree {
            tree.into_iter().filter(|(path, _)| !path.starts_with("node_modules")).collect()
        };
        assert_same(&bulk(before), &bulk(look(&world.workspace())));
    }
}
