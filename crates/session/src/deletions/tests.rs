use std::process::Command;

use super::*;

/// A workspace under git with `files` committed files, and the folder of what is kept of it.
struct World {
    folder: tempfile::TempDir,
    tally: Tally,
    missing: u64,
    gone: Vec<serde_json::Value>,
}

impl World {
    fn new(files: usize) -> World {
        let folder = tempfile::tempdir().unwrap();
        let (workspace, kept) = (folder.path().join("w"), folder.path().join("kept"));
        fs::create_dir(&workspace).unwrap();
        fs::create_dir(&kept).unwrap();
        for number in 0..files {
            fs::write(workspace.join(format!("f{number}")), format!("{number}\n")).unwrap();
        }
        git(&workspace, &["init", "-q"]);
        git(&workspace, &["add", "."]);
        let tally = Tally::of(Deletions {
            session: "s-0123456789".parse().unwrap(),
            history: Some(WorkspaceHistory::of(&workspace.join(".git"), &workspace)),
            workspace,
            kept,
            bulk: vec!["made".to_owned()],
            began: SystemTime::now(),
        });
        World {
            folder,
            tally,
            missing: 0,
            gone: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("w").join(name)
    }

    /// As the keeper does it: kept, then removed.
    fn lose(&mut self, name: &str) {
        let copy = (self.missing + 1).to_string();
        let kept = self.folder.path().join("kept").join(&copy);
        fs::rename(self.path(name), kept).unwrap();
        self.gone
            .push(json!({"path": self.path(name), "copy": copy}));
        self.missing += 1;
    }

    /// What is answered now where a person says no; and what the person saw.
    fn ask(&mut self, pillar: Option<&str>) -> (Answer, Option<(FilesRequest, Vec<String>)>) {
        let pillar = pillar.map(|name| json!({"path": self.path(name), "copy": null}));
        let question = json!({
            "gone": std::mem::take(&mut self.gone),
            "missing": self.missing,
            "taken_over": 0,
            "approved": 0,
            "pillar": pillar,
        });
        let question = serde_json::from_value(question).unwrap();
        let mut shown = None;
        let answer = self.tally.judge(&question, |request, facts| {
            shown = Some((request, facts));
            Err(Box::new(Refusal::denied(
                "a person denied it.",
                "Ask your user.",
            )))
        });
        (answer, shown)
    }

    fn is_held(&mut self) -> bool {
        self.ask(None).1.is_some()
    }
}

#[track_caller]
fn git(folder: &Path, words: &[&str]) {
    let status = Command::new("git")
        .args(words)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .status();
    assert!(status.unwrap().success(), "git {words:?}");
}

#[test]
fn more_than_half_of_a_workspace_is_many_whoever_holds_it() {
    let mut world = World::new(40);
    for number in 0..20 {
        world.lose(&format!("f{number}"));
    }
    assert_eq!(world.ask(None), (Answer::Below(21), None), "half");
    world.lose("f20");
    let (answer, shown) = world.ask(None);
    let (request, facts) = shown.unwrap();
    assert_eq!((request.gone, request.not_in_git), (21, 0));
    assert_eq!(request.folders, [". (21)"]);
    assert!(facts[0].starts_with("21 of 40 files"), "{facts:?}");
    assert!(matches!(answer, Answer::Refused(why) if why.contains("a person denied it")));
}

#[test]
fn what_git_does_not_hold_is_many_sooner() {
    let mut world = World::new(1000);
    for number in 0..200 {
        world.lose(&format!("f{number}"));
    }
    assert!(!world.is_held(), "git holds them");
    for number in 200..299 {
        fs::write(
            world.path(&format!("f{number}")),
            format!("edited {number}"),
        )
        .unwrap();
        world.lose(&format!("f{number}"));
    }
    assert_eq!(world.ask(None), (Answer::Below(300), None), "one less");
    fs::write(world.path("note"), "known to nobody else").unwrap();
    world.lose("note");
    let (_, shown) = world.ask(None);
    assert_eq!(shown.unwrap().0.not_in_git, 100);
    // What came back counts no more.
    fs::write(world.path("note"), "again").unwrap();
    assert!(!world.is_held());
}

#[test]
fn what_git_held_is_lost_with_its_objects() {
    let mut world = World::new(150);
    let objects = world.path(".git/objects");
    let mut folders: Vec<_> = fs::read_dir(&objects).unwrap().flatten().collect();
    folders.retain(|folder| folder.file_name().len() == 2);
    for folder in folders {
        for object in fs::read_dir(folder.path()).unwrap().flatten() {
            let folder = folder.file_name();
            let name = Path::new(".git/objects")
                .join(folder)
                .join(object.file_name());
            world.lose(name.to_str().unwrap());
        }
    }
    assert!(world.is_held());
}

#[test]
fn git_may_pack_what_it_has_and_nobody_may_take_the_repository_away() {
    let mut world = World::new(300);
    git(
        &world.path(""),
        &[
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "-qm",
            "x",
        ],
    );
    let objects = world.path(".git/objects");
    let loose: Vec<_> = fs::read_dir(&objects)
        .unwrap()
        .flatten()
        .filter(|folder| folder.file_name().len() == 2)
        .flat_map(|folder| fs::read_dir(folder.path()).unwrap().flatten())
        .map(|object| object.path())
        .collect();
    git(&world.path(""), &["repack", "-aq"]);
    for object in loose {
        let name = object.strip_prefix(world.path("")).unwrap().to_owned();
        world.lose(name.to_str().unwrap());
    }
    assert!(!world.is_held(), "all of them are in the pack");
    let packs: Vec<_> = fs::read_dir(objects.join("pack"))
        .unwrap()
        .flatten()
        .collect();
    let pack = packs
        .iter()
        .find(|file| file.path().extension().is_some_and(|name| name == "pack"))
        .unwrap()
        .path();
    let pack = pack.strip_prefix(world.path("")).unwrap().to_owned();
    assert!(
        world.ask(Some(pack.to_str().unwrap())).1.is_some(),
        "the only pack"
    );
    fs::write(objects.join("pack/pack-new.pack"), "").unwrap();
    assert!(
        world.ask(Some(pack.to_str().unwrap())).1.is_none(),
        "a newer one is there"
    );
    let (_, shown) = world.ask(Some(".git/HEAD"));
    assert!(shown.unwrap().1[0].contains("the repository is lost"));
}

#[test]
fn build_output_and_what_came_since_is_no_part_of_a_workspace() {
    let folder = tempfile::tempdir().unwrap();
    for path in ["src/a", "node_modules/x/b", "made/c", ".git/d"] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let later = SystemTime::now() + std::time::Duration::from_secs(60);
    assert_eq!(count(folder.path(), &["made".to_owned()], later), 1);
    assert_eq!(count(folder.path(), &[], SystemTime::UNIX_EPOCH), 0);
}
