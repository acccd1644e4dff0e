//! The modes of what a store makes do not depend on the umask. Alone in its program: the umask is the process's.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{SHA256, Scratch};
use rustix::fs::Mode;

#[test]
fn modes_are_exact_whatever_the_umask() {
    for umask in [0o000, 0o077, 0o777] {
        let scratch = Scratch::new();
        rustix::process::umask(Mode::from_raw_mode(umask));

        let store = scratch.open();
        let digest = store.put(b"hello", SHA256, None, None).unwrap().digest;
        store.volume().quarantine(&digest).unwrap();
        store.put(b"hello", SHA256, None, None).unwrap();

        rustix::process::umask(Mode::from_raw_mode(0o022));
        let blob = format!("blobs/sha256/{}", digest.encoded());
        let expected = [
            ("", 0o700),
            ("steelyard.json", 0o600),
            ("lock", 0o600),
            ("meta.db", 0o600),
            ("blobs", 0o755),
            ("blobs/sha256", 0o755),
            (&blob, 0o444),
            ("ingest", 0o700),
            ("quarantine", 0o700),
            ("quarantine/sha256", 0o700),
        ];
        for (name, mode) in expected {
            let found = fs::metadata(scratch.root.join(name)).unwrap().permissions().mode() & 0o7777;
            assert_eq!(format!("{mode:o}"), format!("{found:o}"), "{name} under umask {umask:o}");
        }
    }
}
