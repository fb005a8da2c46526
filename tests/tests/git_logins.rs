//! Private remotes: what the person's own credential helpers know serves the real git inside, against
//! the real `git http-backend` outside, and is seen by nobody there.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tagout_tests::remote::backend;
use tagout_tests::{
    Answer, Person, Received, Server, TestAuthority, World, eventually, for_each_person,
};

const HOST: &str = "git.example.com";
const USER: &str = "ann";
const PASSWORD: &str = "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";

/// A world whose remote asks everybody for a login, which `accepted` are.
struct Private {
    world: World,
    server: Server,
    root: PathBuf,
    accepted: Arc<Mutex<String>>,
}

fn pair(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

impl Private {
    fn new(person: Person, url: &str) -> Self {
        let authority = TestAuthority::new();
        let mut world = World::new(person);
        let root = world.second_workspace();
        for name in ["team/app.git", "team/lib.git"] {
            let path = root.join(name).display().to_string();
            world.git(&["init", "--quiet", "--bare", &path]);
            world.git(&["-C", &path, "config", "http.receivepack", "true"]);
        }
        let accepted = Arc::new(Mutex::new(pair(USER, PASSWORD)));
        let (served, asks) = (root.clone(), Arc::clone(&accepted));
        let server = Server::start(&authority, &[HOST], move |request| {
            answer(
                person,
                &served,
                &asks.lock().expect("no test panicked"),
                request,
            )
        });
        world.believe(&authority);
        world.route(HOST, 443, &server);
        world.write("a.txt", "one\n");
        world.commit("one");
        for name in ["team/app.git", "team/lib.git"] {
            let to = root.join(name).display().to_string();
            world.git(&["push", "--quiet", &to, "main"]);
        }
        world.git(&["remote", "add", "origin", url]);
        Self {
            world,
            server,
            root,
            accepted,
        }
    }

    /// What the person's `git credential-store` knows.
    fn store(&self, lines: &str) {
        self.world.write_home(".git-credentials", lines);
        self.world
            .git(&["config", "--global", "credential.helper", "store"]);
    }

    fn stored(&self) -> String {
        std::fs::read_to_string(self.world.home().join(".git-credentials")).unwrap_or_default()
    }

    fn sent(&self) -> Vec<String> {
        let received = self.server.received();
        let fields = received.iter().filter_map(|it| it.header("authorization"));
        fields.map(str::to_owned).collect()
    }
}

fn answer(person: Person, root: &std::path::Path, accepted: &str, request: &Received) -> Answer {
    // The scheme may be written in any case (RFC 9110 §11.1).
    let sent = request
        .header("authorization")
        .map(|it| it.replacen("basic", "Basic", 1));
    if sent.as_deref() != Some(accepted) {
        let mut refused = Answer::new(401, "text/plain", "log in\n");
        let realm = (
            "www-authenticate".to_owned(),
            "Basic realm=\"test\"".to_owned(),
        );
        refused.headers.push(realm);
        return refused;
    }
    let mut answer = backend(person, root, request);
    // A server that says what it was told.
    answer
        .headers
        .push(("x-echo".to_owned(), accepted.to_owned()));
    answer
}

/// Waits for the next hold and approves it.
fn approve(world: &World) {
    let mut found = None;
    eventually("a hold", || {
        let mut holds = world.json(&["holds"]).into_iter();
        found = holds.find(|hold| hold["state"] == "pending");
        found.is_some()
    });
    let hold = found.expect("just found");
    let id = hold["id"].as_str().expect("an id");
    world.tagout(&["approve", id, "--yes"]).success();
}

for_each_person! {
    fn invariant_3_a_private_remote_is_fetched_and_pushed_to_and_its_login_stays_outside(person: Person) {
        let private = Private::new(person, &format!("https://{HOST}/team/app.git"));
        private.store(&format!("https://{USER}:{PASSWORD}@{HOST}\n"));
        let line = "exec 2>&1; git fetch origin && echo fetched; \
            GIT_TRACE_CURL=1 GIT_TRACE_CURL_NO_DATA=1 git -c core.askPass=false ls-remote origin; \
            env; cat ~/.gitconfig ~/.git-credentials; cat /run/tagout/bin/git-credential-tagout; \
            cat /proc/self/environ /proc/$PPID/environ | tr '\\0' '\\n'; \
            git clone -q origin-is-not-a-path /tmp/x; git -c core.longpaths=true clone -q $(git remote get-url origin) /tmp/c && echo cloned; \
            git commit -q --allow-empty -m two; git push -q origin HEAD:main && echo pushed; \
            curl -s -u tagout:$(printf 'protocol=https\\nhost=git.example.com\\npath=team/app\\n\\n' | /run/tagout/bin/git-credential-tagout get | sed -n s/password=//p) https://git.example.com/api/user";
        let session = private.world.start(&mut private.world.run_command(&["--hold-wait", "60"], line));
        approve(&private.world);
        let finished = session.end();
        for word in ["fetched", "cloned", "pushed", "refs/heads/main", "placeholder of credential"] {
            assert!(finished.everything().contains(word), "{word}: {finished}");
        }
        for spelled in [PASSWORD, &PASSWORD[4..30], &STANDARD.encode(format!("{USER}:{PASSWORD}"))] {
            assert!(!finished.everything().contains(spelled), "{finished}");
        }
        let sent = private.sent();
        assert!(!sent.is_empty() && sent.iter().all(|it| *it == pair(USER, PASSWORD)), "{sent:?}");
        let to_api = private.server.received().iter().any(|it| it.path().contains("api"));
        assert!(!to_api, "the decoy serves git alone");
        let id = private.world.sessions().remove(0);
        let asked = private.world.json(&["log", &id]);
        assert_eq!(asked.iter().filter(|it| it["kind"] == "git_login").count(), 1, "asked once a session");
        assert!(!format!("{asked:?}").contains(PASSWORD));
        assert!(private.stored().contains(PASSWORD), "what works is kept");
        private.world.verify_all();
    }
}

for_each_person! {
    fn a_wrong_login_is_forgotten_and_a_missing_one_is_told(person: Person) {
        let private = Private::new(person, &format!("git@{HOST}:team/app.git"));
        let finished = private.world.run(&[], "git fetch origin");
        let said = finished.everything();
        assert!(said.contains("nobody is logged in outside"), "{finished}");
        assert!(said.contains("written for SSH") && said.contains("git ls-remote"), "{finished}");
        assert!(private.sent().is_empty(), "nothing was sent with a decoy");

        private.store(&format!("https://{USER}:wrong-password-9f8e7d6c@{HOST}\n"));
        let finished = private.world.run(&[], "git fetch origin && echo fetched; git fetch origin");
        assert!(!finished.everything().contains("fetched"), "{finished}");
        assert!(finished.everything().contains("Authentication failed"), "{finished}");
        assert!(finished.everything().contains("nobody is logged in outside"), "the second: {finished}");
        assert!(!private.stored().contains("wrong-password"), "it was rejected: {}", private.stored());
    }
}

for_each_person! {
    fn a_login_that_changes_during_a_session_serves_on(person: Person) {
        let private = Private::new(person, &format!("https://{HOST}/team/app.git"));
        private.store(&format!("https://{USER}:{PASSWORD}@{HOST}\n"));
        let line = "git fetch -q origin && echo first && touch ready && until [ -e go ]; do sleep 0.05; done; git fetch -q origin && echo second";
        let session = private.world.start(&mut private.world.run_command(&[], line));
        eventually("the first fetch", || private.world.read("ready").is_some());
        let next = "ghp_aN0therT0kenOfTheSameP3rson9k2Lq81xv4";
        *private.accepted.lock().expect("no test panicked") = pair(USER, next);
        private.store(&format!("https://{USER}:{next}@{HOST}\n"));
        private.world.write("go", "");
        let finished = session.end();
        assert!(finished.stdout.contains("first") && finished.stdout.contains("second"), "{finished}");
        assert!(!finished.everything().contains(next), "{finished}");
    }
}

for_each_person! {
    fn invariant_3_a_token_in_a_remotes_url_is_a_decoy_and_serves(person: Person) {
        for user in ["x-access-token", USER] {
            let private = Private::new(person, &format!("https://{user}:{PASSWORD}@{HOST}/team/app.git"));
            *private.accepted.lock().expect("no test panicked") = pair(user, PASSWORD);
            let finished = private.world.run(&[], "git fetch -q origin && echo fetched; git ls-remote origin; cat .git/config; git remote -v");
            assert!(finished.stdout.contains("fetched"), "{finished}");
            assert!(finished.stdout.contains("refs/heads/main"), "{finished}");
            assert!(!finished.everything().contains(&PASSWORD[4..30]), "{finished}");
        }
    }
}

for_each_person! {
    fn invariant_3_a_header_of_continuous_integration_is_a_decoy_and_serves(person: Person) {
        let private = Private::new(person, &format!("https://{HOST}/team/app"));
        *private.accepted.lock().expect("no test panicked") = pair("x-access-token", PASSWORD);
        let header = format!("AUTHORIZATION: basic {}", STANDARD.encode(format!("x-access-token:{PASSWORD}")));
        let key = format!("http.https://{HOST}/.extraheader");
        private.world.git(&["config", &key, &header]);
        let finished = private.world.run(&[], "git fetch -q origin && echo fetched; cat .git/config | sed -n 's/.*basic //p' | base64 -d");
        assert!(finished.stdout.contains("fetched"), "{finished}");
        assert!(finished.stdout.contains("x-access-token:ghp_"), "{finished}");
        assert!(!finished.everything().contains(&PASSWORD[4..30]), "{finished}");
        // The same in the person's own configuration.
        private.world.git(&["config", "--unset", &key]);
        private.world.git(&["config", "--global", &key, &header]);
        let finished = private.world.run(&[], "git fetch -q origin && echo fetched; cat ~/.gitconfig");
        assert!(finished.stdout.contains("fetched"), "{finished}");
        assert!(!finished.everything().contains(&STANDARD.encode(format!("x-access-token:{PASSWORD}"))), "{finished}");
    }
}

for_each_person! {
    fn a_private_submodule_is_cloned(person: Person) {
        let private = Private::new(person, &format!("https://{HOST}/team/app.git"));
        private.store(&format!("https://{USER}:{PASSWORD}@{HOST}\n"));
        let lib = private.root.join("team/lib.git").display().to_string();
        private.world.git(&["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &lib, "lib"]);
        let url = format!("https://{HOST}/team/lib.git");
        private.world.git(&["config", "-f", ".gitmodules", "submodule.lib.url", &url]);
        private.world.git(&["config", "submodule.lib.url", &url]);
        private.world.commit("with a library");
        private.world.git(&["submodule", "deinit", "--quiet", "-f", "lib"]);
        private.world.git(&["submodule", "init", "--quiet"]);
        std::fs::remove_dir_all(private.world.workspace().join(".git/modules")).expect("it was cloned");
        let finished = private.world.run(&[], "git submodule update --quiet && cat lib/a.txt");
        assert_eq!(finished.stdout, "one\n", "{finished}");
    }
}

for_each_person! {
    fn invariant_9_no_program_of_the_workspace_runs_as_a_helper(person: Person) {
        let private = Private::new(person, &format!("https://{HOST}/team/app.git"));
        let world = &private.world;
        // The repository's own configuration names no helper of the person.
        let evil = world.workspace().join("evil").display().to_string();
        world.write("evil", "#!/bin/sh\necho >\"$HOME/escaped\"\necho username=x\necho password=y\n");
        world.git(&["config", "credential.helper", &format!("!sh {evil}")]);
        let finished = world.run(&[], "git fetch origin");
        assert!(finished.everything().contains("nobody is logged in outside"), "{finished}");
        // A configuration of the person's that lies in the workspace could be the agent's by now.
        world.write("dotfiles/gitconfig", "[user]\n\tname = Test\n\temail = t@example.com\n");
        let home = world.home().join(".gitconfig");
        std::fs::remove_file(&home).expect("the world made one");
        std::os::unix::fs::symlink(world.workspace().join("dotfiles/gitconfig"), &home).expect("a link");
        let line = format!("git config -f dotfiles/gitconfig credential.helper '!sh {evil}'; git fetch origin");
        let finished = world.run(&[], &line);
        assert!(finished.everything().contains("where an agent can change"), "{finished}");
        // Nor a helper there.
        std::fs::remove_file(&home).expect("just made");
        world.write_home(".gitconfig", &format!("[credential]\n\thelper = !sh {evil}\n"));
        let finished = world.run(&[], "git fetch origin");
        assert!(finished.everything().contains("the credential helper of your user lies in"), "{finished}");
        assert!(!world.home().join("escaped").exists());
    }
}
