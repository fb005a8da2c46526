//! `tagout secrets scan`: what it finds in files, archives and the history of a repository, as lines and as JSON.

use tagout_tests::{World, finish, for_each_person};

const FIRST: &str = "Zx81kkPq9wLm3";
const SECOND: &str = "Qx81kkPq9wLm4";
const TOKEN: &str = "3f6e1c2a-9b7d-4e58-a1c0-5d2f8b6e4a97";

for_each_person! {
    fn files_archives_and_the_history_are_looked_at_and_no_value_is_shown(person: Person) {
        let world = World::new(person);
        world.write(".env", &format!("DATABASE_PASSWORD={FIRST}\n"));
        world.commit("first");
        world.write(".env", &format!("# settings\nDATABASE_PASSWORD={SECOND}\n"));
        world.write("db/token.env", &format!("RAILWAY_API_TOKEN={TOKEN}\n"));
        finish(world.outside("tar").args(["-czf", "backup.tgz", "db"])).success();

        let text = world.tagout(&["secrets", "scan", "."]).success();
        let head = world.git(&["rev-list", "--max-parents=0", "HEAD"]).stdout;
        let expected = [
            "./.env:2:19  password".to_owned(),
            "./backup.tgz!db/token.env:1:19  railway-token".to_owned(),
            "./db/token.env:1:19  railway-token".to_owned(),
            format!("./.env:1:19  password in {}", &head[..10]),
        ];
        assert_eq!(text.stdout.lines().collect::<Vec<_>>(), expected, "{text}");

        let objects = world.json(&["secrets", "scan", "."]);
        assert_eq!(objects.len(), expected.len());
        assert_eq!(objects[0]["start_line"], 2);
        assert_eq!(objects[0]["end_col"], 19 + SECOND.len());
        assert_eq!(objects[1]["file"], "./backup.tgz!db/token.env");
        assert_eq!(objects[3]["commit"], head.trim());
        let json = format!("{objects:?}");
        for value in [FIRST, SECOND, TOKEN] {
            assert!(!text.everything().contains(value) && !json.contains(value));
        }
    }
}

for_each_person! {
    fn what_cannot_be_looked_at_is_an_error(person: Person) {
        let missing = World::new(person).tagout(&["secrets", "scan", "nowhere"]);
        assert_ne!(missing.status, 0, "{missing}");
        assert!(missing.stderr.contains("cannot look at nowhere"), "{missing}");
    }
}
