//! Workspaces that are not one plain disk: an overlay, as in a container, and other file systems mounted
//! below. Mounting takes root; the session is an ordinary user's.

use tagout_tests::{Person, World, finish};

const SECRET: &str = "sk_live_51Mz8QpLr3vYkT0aXw7NcHbEd2fGsJ9u";

#[test]
fn invariant_3_secrets_are_hidden_on_every_file_system_as_root() {
    assert!(Person::root().is_root());
    let world = World::new(Person::ordinary());
    let person = world.person();
    let tagout = world.tagout_command(&[]);
    // A file that the overlay has from below, one that was written through it, and one on a disk of its own.
    let script = format!(
        "set -eu\n\
         mkdir -p lower upper scratch\n\
         echo STRIPE_SECRET_KEY={SECRET} > lower/.env\n\
         mount -t tmpfs none scratch\n\
         mkdir scratch/upper scratch/work scratch/merged\n\
         mount -t overlay -o lowerdir=lower,upperdir=scratch/upper,workdir=scratch/work none scratch/merged\n\
         cd scratch/merged\n\
         mkdir written mounted\n\
         echo STRIPE_SECRET_KEY={SECRET} > written/.env\n\
         mount -t tmpfs none mounted\n\
         echo STRIPE_SECRET_KEY={SECRET} > mounted/.env\n\
         chown -R {0} .\n\
         exec setpriv --reuid {0} --regid \"$(id -g {1})\" --clear-groups \"$0\" run -- sh -c 'cat .env */.env'",
        person.uid(),
        person.name(),
    );
    let mut command = Person::root().command("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .arg(tagout.get_program())
        .current_dir(world.home())
        .env("HOME", world.home())
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let finished = finish(&mut command).success();
    assert_eq!(
        finished
            .stdout
            .matches("STRIPE_SECRET_KEY=sk_live_")
            .count(),
        3,
        "{finished}"
    );
    assert!(!finished.everything().contains(SECRET), "{finished}");
    world.assert_nothing_left();
}
