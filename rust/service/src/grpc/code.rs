//! gRPC's status codes.

/// The status code of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "gRPC's names")]
pub enum Code {
    Ok,
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

/// For each code its name, and the text that containerd appends to messages, after a colon.
const TEXTS: [(&str, &str); 17] = [
    ("OK", ""),
    ("CANCELLED", "context canceled"),
    ("UNKNOWN", "unknown"),
    ("INVALID_ARGUMENT", "invalid argument"),
    ("DEADLINE_EXCEEDED", "context deadline exceeded"),
    ("NOT_FOUND", "not found"),
    ("ALREADY_EXISTS", "already exists"),
    ("PERMISSION_DENIED", "permission denied"),
    ("RESOURCE_EXHAUSTED", "resource exhausted"),
    ("FAILED_PRECONDITION", "failed precondition"),
    ("ABORTED", "aborted"),
    ("OUT_OF_RANGE", "out of range"),
    ("UNIMPLEMENTED", "not implemented"),
    ("INTERNAL", "internal"),
    ("UNAVAILABLE", "unavailable"),
    ("DATA_LOSS", "data loss"),
    ("UNAUTHENTICATED", "unauthenticated"),
];

impl Code {
    /// All codes, by number.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// Return the code with this number, if there is one.
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        TEXTS[self as usize].0
    }

    /// The last words of a message with this code.
    pub(crate) fn suffix(self) -> &'static str {
        TEXTS[self as usize].1
    }

    /// Whether this code is normal in operation. An operator should see calls with other codes.
    pub(crate) fn is_normal(self) -> bool {
        matches!(self, Self::Ok | Self::NotFound | Self::AlreadyExists | Self::Cancelled)
    }

    /// Whether this code means a fault of the service.
    pub(crate) fn is_fault(self) -> bool {
        matches!(self, Self::Internal | Self::DataLoss | Self::Unknown)
    }
}
