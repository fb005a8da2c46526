//! Passwords of package indexes, where pip finds them: in the index's address, and in `~/.netrc`. The
//! real pip installs with them from an index that asks for them; inside there are decoys, which open
//! nothing else.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tagout_tests::{Answer, Server, TestAuthority, World, finish, for_each_person};

const INDEX: &str = "packages.example.com";
const PASSWORD: &str = "pypi-9sD2kQ0vXw4LrT7yUb1NcE5fGh8JiK3m";

/// A package in the form that pip installs, made by the Python that is there.
fn wheel(world: &World) -> Vec<u8> {
    const MAKE: &str = "import zipfile
z = zipfile.ZipFile('ours-1.0-py3-none-any.whl', 'w')
z.writestr('ours.py', 'answer = 42\\n')
z.writestr('ours-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: ours\\nVersion: 1.0\\n')
z.writestr('ours-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
z.writestr('ours-1.0.dist-info/RECORD', 'ours.py,,\\nours-1.0.dist-info/METADATA,,\\nours-1.0.dist-info/WHEEL,,\\nours-1.0.dist-info/RECORD,,\\n')
z.close()";
    let place = world.home().join("wheel");
    finish(world.outside("mkdir").arg(&place)).success();
    finish(
        world
            .outside("python3")
            .args(["-c", MAKE])
            .current_dir(&place),
    )
    .success();
    std::fs::read(place.join("ours-1.0-py3-none-any.whl")).expect("the wheel")
}

/// An index of one package, for who brings the password.
fn index(authority: &TestAuthority, wheel: Vec<u8>) -> Server {
    let wanted = format!("Basic {}", STANDARD.encode(format!("me:{PASSWORD}")));
    Server::start(authority, &[INDEX], move |request| {
        if request.header("authorization") != Some(wanted.as_str()) {
            let mut answer = Answer::new(401, "text/plain", "who are you?");
            let asks = ("www-authenticate".into(), "Basic realm=\"index\"".into());
            answer.headers.push(asks);
            return answer;
        }
        match request.path() {
            "/py/simple/ours/" => Answer::new(
                200,
                "text/html",
                "<a href=\"/py/files/ours-1.0-py3-none-any.whl\">ours-1.0-py3-none-any.whl</a>",
            ),
            "/py/files/ours-1.0-py3-none-any.whl" => Answer {
                status: 200,
                headers: vec![("content-type".into(), "application/octet-stream".into())],
                pieces: vec![wheel.clone()],
            },
            _ => Answer::new(404, "text/plain", "nothing"),
        }
    })
}

for_each_person! {
    fn invariant_3_an_indexs_password_stays_outside_and_works(person: Person) {
        let mut world = World::new(person);
        let authority = TestAuthority::new();
        let server = index(&authority, wheel(&world));
        world.believe(&authority);
        world.route(INDEX, 443, &server);
        let in_address = format!("[global]\nindex-url = https://me:{PASSWORD}@{INDEX}/py/simple/\n");
        let beside = format!("[global]\nindex-url = https://{INDEX}/py/simple/\n");
        let netrc = format!("machine {INDEX} login me password {PASSWORD}\n");
        for (configuration, netrc) in [(in_address, String::new()), (beside, netrc)] {
            world.write_home(".config/pip/pip.conf", &configuration);
            world.write_home(".netrc", &netrc);
            restrict(&world.home().join(".netrc"));
            let line = "test -d .venv || python3 -m venv .venv; \
                        .venv/bin/pip install --quiet --no-cache-dir --target /tmp/ours ours && \
                        PYTHONPATH=/tmp/ours .venv/bin/python -c 'import ours; print(ours.answer)'; \
                        cat ~/.config/pip/pip.conf ~/.netrc; env";
            let finished = world.run(&[], line);
            assert!(finished.stdout.starts_with("42\n"), "{finished}");
            assert!(!finished.everything().contains(PASSWORD), "{finished}");

            // What stands inside for the password is taken nowhere else, and publishes nothing.
            let count = server.received().len();
            let line = "p=$(cat ~/.config/pip/pip.conf ~/.netrc | grep -o 'pypi-[A-Za-z0-9]*' | head -1); \
                        try() { curl -s -o /dev/null -w '%{http_code}\\n' -u \"me:$p\" \"$@\"; }; \
                        try https://packages.example.com/other; \
                        try -X POST -d x https://packages.example.com/py/legacy/; \
                        test -n \"$p\" && echo found";
            let finished = world.run(&[], line);
            assert_eq!(finished.stdout, "403\n403\nfound\n", "{finished}");
            assert_eq!(server.received().len(), count, "something was sent");
        }
        world.verify_all();
    }
}

/// A netrc that others can read is no netrc to some readers.
fn restrict(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).expect("its mode");
}
