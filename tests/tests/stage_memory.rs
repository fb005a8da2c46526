//! What the processes of a sandbox remember: nothing that the supervisor was started with or has read,
//! whether their first one was split off it or started anew.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use tagout_tests::{World, for_each_person};

/// In the supervisor's environment.
const IN_A_VARIABLE: &str = "vX7mPq2LtR9sKw4ZhB6nYc3D";
/// In a file of the workspace that the supervisor reads and covers.
const IN_A_FILE: &str = "sk_live_51Mz8QpLr3vYkT0aXw7NcHbEd2fGsJ9u";

for_each_person! {
    fn invariant_3_no_process_of_a_sandbox_remembers_what_the_supervisor_knows(person: Person) {
        let world = World::new(person);
        world.write(".env", &format!("STRIPE_SECRET_KEY={IN_A_FILE}\n"));
        let mut command = world.run_command(&[], "echo up > up; sleep 1000");
        command.env("SOME_PASSWORD", IN_A_VARIABLE);
        let session = world.start(&mut command);
        tagout_tests::eventually("the command runs", || world.read("up").is_some());

        let inside = descendants(session.id());
        // The stage, process 1, and the command at least.
        assert!(inside.len() >= 3, "{inside:?}");
        for value in [IN_A_VARIABLE, IN_A_FILE] {
            assert!(remembers(session.id(), value), "the supervisor does not know {value}: nothing is tested");
            for &process in &inside {
                assert!(!remembers(process, value), "process {process} remembers {value}");
            }
        }
        for &process in &inside {
            let shown = fs::read(format!("/proc/{process}/environ")).expect("an environment");
            assert!(!contains(&shown, IN_A_VARIABLE.as_bytes()), "process {process} shows the environment");
        }
        session.kill();
    }
}

/// The processes below one, as the kernel lists them.
fn descendants(process: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut open = vec![process];
    while let Some(process) = open.pop() {
        for thread in fs::read_dir(format!("/proc/{process}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            for child in children
                .split_whitespace()
                .filter_map(|child| child.parse().ok())
            {
                if found.insert(child) {
                    open.push(child);
                }
            }
        }
    }
    found
}

/// Whether these bytes are anywhere in what a process could change, as root reads it. What it only maps
/// from files is nobody's memory.
fn remembers(process: u32, value: &str) -> bool {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).expect("the process runs");
    let mut memory = fs::File::open(format!("/proc/{process}/mem")).expect("tests run as root");
    maps.lines()
        .filter(|line| {
            line.split(' ')
                .nth(1)
                .is_some_and(|may| may.starts_with("rw"))
        })
        .filter_map(|line| {
            let (from, to) = line.split(' ').next()?.split_once('-')?;
            let (from, to) = (
                u64::from_str_radix(from, 16).ok()?,
                u64::from_str_radix(to, 16).ok()?,
            );
            memory.seek(SeekFrom::Start(from)).ok()?;
            let mut bytes = vec![0; usize::try_from(to - from).ok()?];
            // A page that cannot be read ends it; what was read before counts.
            let mut got = 0;
            while let Ok(count @ 1..) = memory.read(&mut bytes[got..]) {
                got += count;
            }
            bytes.truncate(got);
            Some(bytes)
        })
        .any(|bytes| contains(&bytes, value.as_bytes()))
}

fn contains(bytes: &[u8], value: &[u8]) -> bool {
    bytes.windows(value.len()).any(|window| window == value)
}
