//! Ingests without a ref: like any other, but no other process sees them and nothing stays of them.

use steelyard_core::digest::Algorithm;
use steelyard_core::error::Error;

use crate::support::*;

#[test]
fn an_anonymous_ingest_writes_truncates_and_commits_like_any_other() {
    let root = Root::new();
    let store = root.open();
    let data = bytes(100_000);
    for algorithm in Algorithm::ALL {
        let ingest = store.ingests().anonymous(algorithm).unwrap();
        assert_eq!(("", digest(algorithm, b"")), (ingest.name(), ingest.digest().unwrap()));
        ingest.write(&data[..60_000]).unwrap();
        ingest.sync().unwrap();
        ingest.truncate(50_000).unwrap();
        ingest.push(&data[50_000..]).unwrap();
        let status = ingest.status().unwrap();
        assert_eq!(("", 100_000, None), (&*status.ref_, status.offset, status.total));

        let info = ingest.commit(Some(100_000), None, None).unwrap();

        assert_eq!((digest(algorithm, &data), Some(data.clone())), (info.digest, root.blob(&info.digest)));
        assert!(is_closed(&ingest.write(b"x").unwrap_err()));
    }
}

#[test]
fn anonymous_ingests_are_never_listed_and_leave_nothing() {
    let root = Root::new();
    let store = root.open();
    let (one, two) =
        (store.ingests().anonymous(Algorithm::Sha256).unwrap(), store.ingests().anonymous(Algorithm::Sha256).unwrap());
    one.write(b"abc").unwrap();
    two.write(b"abd").unwrap();

    assert_eq!(Ok(Vec::new()), store.ingests().statuses());
    one.close().unwrap();
    one.close().unwrap();
    let error = two.commit(None, Some(&sha256(b"abc")), None).unwrap_err();

    let (expected, actual) = (sha256(b"abc").to_string(), sha256(b"abd").to_string());
    assert_eq!(Error::UnexpectedDigest { expected, actual, name: None }, error);
    assert_eq!(0, root.ingests_left());
    root.assert_blobs_whole();
    assert_eq!(None, root.blob(&sha256(b"abd")));
}
