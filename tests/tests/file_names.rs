//! Names of files are octets: a workspace with names that are no text is one as any other, also where its secrets
//! and control files have such names, and where an agent made them.

use tagout_tests::{World, finish, for_each_person};

const TOKEN: &str = "ghp_9fK2mQ7xT4vB8nR1cW6yZ3pL5hJ0dS2gA7eU";

for_each_person! {
    fn invariant_3_names_that_are_no_text_are_names(person: Person) {
        let world = World::new(person);
        let made = format!(
            "printf 'GITHUB_TOKEN={TOKEN}\\n' > $'k\\xe9y.env'; mkdir -p ops $'\\xff/repo'; \
             echo \"as before\" > $'ops/\\xff'; git init -q $'\\xff/repo'",
        );
        finish(world.outside("bash").args(["-c", &made])).success();
        world.manifest("[task]\nname = \"t\"\n[workspace]\nhidden = [\"ops/**\"]\n");
        // A twin, what is hidden, and a guard.
        let finished = world
            .run(
                &[],
                "cat $'k\\xe9y.env'; cat $'ops/\\xff' && echo seen; \
                 echo evil > $'\\xff/repo/.git/hooks/pre-commit' && echo wrote; \
                 mkdir $'\\xfe' && git init -q $'\\xfe/repo' && echo made",
            )
            .success();
        assert!(finished.stdout.contains("GITHUB_TOKEN=ghp_"), "{finished}");
        assert!(finished.stdout.contains("made"), "{finished}");
        assert!(!finished.everything().contains(TOKEN), "{finished}");
        for never in ["seen", "wrote", "as before"] {
            assert!(!finished.stdout.contains(never), "{finished}");
        }
        // What an agent made so keeps no later session from working.
        let again = world.run(&[], "echo works").success();
        assert_eq!(again.stdout, "works\n", "{again}");
        world.assert_nothing_left();
    }
}
