//! Failures keep the server's code, and their kind tells a caller what to do.

use super::{Error, Kind};

fn generic(text: &str) -> object_store::Error {
    object_store::Error::Generic { store: "S3", source: text.into() }
}

#[test]
fn the_code_and_the_message_of_the_server_are_kept() {
    let body = "<Error><Code>SlowDown</Code><Message>Reduce your rate</Message></Error>";
    let found = Error::from(generic(&format!("Server returned non-2xx status code: 503 Service Unavailable: {body}")));

    let expected = Error {
        kind: Kind::Unreachable,
        code: Some("SlowDown".to_owned()),
        message: "SlowDown: Reduce your rate".to_owned(),
    };
    assert_eq!(expected, found);
}

#[test]
fn an_answer_without_a_body_has_its_status() {
    let found = Error::from(generic("Server returned non-2xx status code: 400 Bad Request: "));

    assert_eq!((Kind::Refused, None), (found.kind, found.code));
    assert_eq!("HTTP status 400", found.message);
}

#[test]
fn a_conflict_is_no_object_that_exists() {
    let error = |text: &str| object_store::Error::AlreadyExists { path: "key".to_owned(), source: text.into() };

    assert_eq!(Kind::Conflict, Error::from(error("status code: 409 Conflict")).kind);
    assert_eq!(Kind::Precondition, Error::from(error("status code: 412 Precondition Failed")).kind);
}

#[test]
fn absent_objects_and_missing_rights_are_told_apart() {
    let source = || "status code: 404".into();
    assert_eq!(
        Kind::NotFound,
        Error::from(object_store::Error::NotFound { path: String::new(), source: source() }).kind
    );
    let denied = object_store::Error::PermissionDenied { path: String::new(), source: source() };
    assert_eq!(Kind::Denied, Error::from(denied).kind);
}

#[test]
fn an_answer_is_a_failure_by_its_status() {
    let body = "<Error><Code>NotImplemented</Code><Message>not here</Message></Error>";
    let expected = Error {
        kind: Kind::Refused,
        code: Some("NotImplemented".to_owned()),
        message: "NotImplemented: not here".to_owned(),
    };
    assert_eq!(expected, Error::of_answer(501, body));

    let kinds = [(403, Kind::Denied), (404, Kind::NotFound), (429, Kind::Unreachable), (503, Kind::Unreachable)];
    for (status, kind) in kinds {
        assert_eq!((kind, None), (Error::of_answer(status, "").kind, Error::of_answer(status, "").code));
    }
}
