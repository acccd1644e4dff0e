//! The failure of a request: its kind, the server's code and a text for people.

use std::error::Error as _;

use object_store::client::{HttpError, HttpErrorKind};

/// The result of a request.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The kind, by which a caller decides what to do.
    pub kind: Kind,
    /// The server's code, such as `NoSuchBucket`, if it gave one.
    pub code: Option<String>,
    /// A text for people. It has no credentials: requests are signed in their headers, and no text has headers.
    pub message: String,
}

/// The kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such object, upload or bucket.
    NotFound,
    /// The object exists already, or was replaced since its tag was read (HTTP 412).
    Precondition,
    /// Another request for the same object is running (HTTP 409): try again.
    Conflict,
    /// The credentials are wrong, or do not permit the operation.
    Denied,
    /// The server does not answer.
    Unreachable,
    /// The server has refused for another reason.
    Refused,
    /// A setting is invalid.
    Invalid,
    /// A local file could not be read.
    File(i32),
    /// The system refused a thread.
    NoThread(i32),
    /// The caller no longer wants the outcome. The request may have had its effect.
    Cancelled,
}

impl Error {
    /// A failure without a code from the server.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, code: None, message: message.into() }
    }

    /// The failure of a request whose task ended before it had an outcome.
    pub(crate) fn unended() -> Self {
        Self::new(Kind::Unreachable, "the request ended without an outcome")
    }

    /// The failure of a request that took longer than its deadline.
    pub(crate) fn late(seconds: u64) -> Self {
        Self::new(Kind::Unreachable, format!("no answer within {seconds} s"))
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        let error = innermost(error);
        let text = chain(&error);
        let (status, code) = (status_in(&text), element(&text, "Code"));
        let kind = match &error {
            object_store::Error::NotFound { .. } => Kind::NotFound,
            object_store::Error::AlreadyExists { .. } if status == Some(409) => Kind::Conflict,
            object_store::Error::AlreadyExists { .. }
            | object_store::Error::Precondition { .. }
            | object_store::Error::NotModified { .. } => Kind::Precondition,
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => Kind::Denied,
            object_store::Error::UnknownConfigurationKey { .. } | object_store::Error::InvalidPath { .. } => {
                Kind::Invalid
            }
            _ if is_transport(&error) || status.is_some_and(|status| status >= 500) => Kind::Unreachable,
            _ => Kind::Refused,
        };
        let message = message(code.as_deref(), status, text);
        Self { kind, code, message }
    }
}

impl Error {
    /// The failure of a request, by the status and the body of the answer.
    pub(crate) fn of_answer(status: u16, body: &str) -> Self {
        let kind = match status {
            401 | 403 => Kind::Denied,
            404 => Kind::NotFound,
            409 => Kind::Conflict,
            412 => Kind::Precondition,
            429 | 500 | 502..=599 => Kind::Unreachable,
            // 501, too: another attempt would not succeed.
            _ => Kind::Refused,
        };
        let code = element(body, "Code");
        let message = message(code.as_deref(), Some(status), body.to_owned());
        Self { kind, code, message }
    }

    /// The failure of a connection.
    pub(crate) fn of_transport(error: &HttpError) -> Self {
        Self::new(Kind::Unreachable, chain(error))
    }
}

/// The original error: `object_store` wraps the error of a request that it repeated for the rest of a body.
fn innermost(error: object_store::Error) -> object_store::Error {
    let object_store::Error::Generic { store, source } = error else { return error };
    match source.downcast::<object_store::Error>() {
        Ok(inner) => innermost(*inner),
        Err(source) => object_store::Error::Generic { store, source },
    }
}

/// The text for people, from the server's answer if there is one.
fn message(code: Option<&str>, status: Option<u16>, text: String) -> String {
    match (code, element(&text, "Message"), status) {
        (Some(code), Some(said), _) => format!("{code}: {said}"),
        (Some(code), None, _) => code.to_owned(),
        (None, _, Some(status)) => format!("HTTP status {status}"),
        (None, _, None) => text,
    }
}

/// The texts of an error and of its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}

fn is_transport(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return !matches!(http.kind(), HttpErrorKind::Decode);
        }
        cause = error.source();
    }
    false
}

/// The HTTP status in a text of `object_store`, whose type with the number is private.
fn status_in(text: &str) -> Option<u16> {
    let after = text.split_once("status code: ")?.1;
    after.get(..3)?.parse().ok()
}

/// The text of an element of S3's answer.
fn element(text: &str, name: &str) -> Option<String> {
    let after = text.split_once(&format!("<{name}>"))?.1;
    Some(after.split_once('<')?.0.to_owned())
}

#[cfg(test)]
mod tests;
