//! Programs that people use do the same inside a session, where every change of the workspace is mediated, as outside.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tagout_tests::{World, finish, for_each_person};

/// Each line is a program at work: with temporary files that take the place of others, locks, shared memory, links, times and modes.
const WORK: &[&str] = &[
    "printf 'all: out/a out/b\\nout/%%: src/%%\\n\\tmkdir -p out && tr a-z A-Z < $< > $@.tmp && mv $@.tmp $@\\n' > Makefile; make -j2 -s; make -s; touch -d 2001-01-01 out/a; make -s -q || echo outdated; make -s",
    "sqlite3 rows.db 'PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1),(2); PRAGMA journal_mode=DELETE; BEGIN; DELETE FROM t WHERE a=1; ROLLBACK; SELECT * FROM t;'",
    "rsync -a src/ mirror/; rm mirror/b; echo more >> mirror/a; rsync -ac --delete src/ mirror/; diff -r src mirror && echo same",
    "tar cf src.tar src; mkdir unpacked; tar xpf src.tar -C unpacked; diff -r src unpacked/src; rm -r unpacked",
    "cp src/a one; vim -Nu NONE -es -c 'set backupcopy=no' -c '%s/a/b/' -c wq one; vim -Nu NONE -es -c 'set backup backupcopy=yes' -c '%s/b/c/' -c wq one; cat one 'one~'",
    "sed -i.bak s/a/z/ src/b; perl -pi -e s/z/y/ src/b; printf '1s/y/x/\\nw\\nq\\n' | ed -s src/b; cat src/b src/b.bak; diff -u src/b.bak src/b > change.patch; patch -s -R src/b change.patch; cat src/b",
    "git init -q repository; cd repository; echo 1 > file; git add file; git -c user.name=a -c user.email=a@b commit -qm one; echo 2 > file; git stash -q; git stash pop -q; git checkout -q -b other; \
     git -c user.name=a -c user.email=a@b commit -qam two; git checkout -q -; git merge -q other; git gc -q; git fsck --no-dangling; git worktree add -q ../tree HEAD~1; git log --format=%s; git status --short; cd ..; rm -rf repository tree",
    "echo first > log; { echo err > /dev/stderr; echo fd > /dev/fd/3; echo two >> /proc/self/fd/3; } 2>> log 3>> log; cat log; chmod 640 log; exec 4< log; chmod 600 /dev/fd/4; exec 4>&-",
    "python3 -c 'import tempfile,shutil,zipfile,mmap,fcntl,os; f=tempfile.NamedTemporaryFile(dir=\".\",delete=False); f.write(b\"x\"*5000); f.flush(); m=mmap.mmap(f.fileno(),5000); m[0:3]=b\"map\"; \
     m.flush(); fcntl.flock(f,fcntl.LOCK_EX); fcntl.lockf(f,fcntl.LOCK_EX); os.replace(f.name,\"mapped\"); shutil.make_archive(\"z\",\"zip\",\"src\"); zipfile.ZipFile(\"z.zip\").extractall(\"unzipped\"); \
     shutil.copytree(\"src\",\"tree\",symlinks=True); shutil.move(\"tree\",\"moved\"); shutil.rmtree(\"moved\")'; head -c 9 mapped; rm z.zip",
];

/// Kind, mode and content of everything below a folder.
fn tree(top: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut open = vec![top.to_path_buf()];
    while let Some(path) = open.pop() {
        let metadata = fs::symlink_metadata(&path).expect("it is there");
        let content = if metadata.is_dir() {
            for entry in fs::read_dir(&path).expect("a folder") {
                open.push(entry.expect("an entry").path());
            }
            Vec::new()
        } else if metadata.is_symlink() {
            let target = fs::read_link(&path).expect("a link");
            target.into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).expect("a file")
        };
        let place = path.strip_prefix(top).expect("below").to_path_buf();
        found.insert(place, (metadata.permissions().mode(), content));
    }
    found
}

for_each_person! {
    fn everyday_programs_do_the_same_inside(person: Person) {
        let [natively, mediated] = [false, true].map(|inside| {
            let world = World::new(person);
            world.write("work/src/a", "a file\n");
            world.write("work/src/b", "another file\n");
            world.write("work/src/folder/c", "c\n");
            std::os::unix::fs::symlink("folder/c", world.workspace().join("work/src/link")).expect("a link");
            world.person().own(&world.workspace());
            let line = format!("umask 022; cd {}/work; {{\n{}\n}} 2>&1; echo done", world.workspace().display(), WORK.join("\n"));
            let finished = match inside {
                true => world.run(&[], &line),
                false => finish(world.outside("bash").args(["-c", &line])),
            };
            assert!(finished.stdout.ends_with("done\n"), "{finished}");
            (finished.stdout, tree(&world.workspace().join("work")))
        });
        assert_eq!(natively.0, mediated.0);
        let names = |tree: &BTreeMap<PathBuf, (u32, Vec<u8>)>| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&natively.1), names(&mediated.1));
        // Archives and databases hold times.
        let differing: Vec<_> = natively.1.iter().filter(|(path, what)| {
            let is_stamped = path.extension().is_some_and(|kind| kind == "tar" || kind == "patch");
            !is_stamped && mediated.1.get(*path) != Some(what)
        }).map(|(path, _)| path).collect();
        assert!(differing.is_empty(), "{differing:?}");
    }
}
