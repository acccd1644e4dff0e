//! The counts of each method.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::grpc::code::Code;
use crate::method::Method;

/// The upper bounds, in seconds, of the histogram of call durations.
pub const SECONDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// The counts of one method.
#[derive(Default)]
struct Counts {
    open: AtomicI64,
    received: AtomicU64,
    sent: AtomicU64,
    codes: [AtomicU64; Code::ALL.len()],
    /// One bucket for each of `SECONDS`, and one for longer calls.
    buckets: [AtomicU64; SECONDS.len() + 1],
    micros: AtomicU64,
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

/// The counts of a server.
pub(crate) struct Metrics {
    methods: Vec<Counts>,
    ingests: AtomicI64,
}

/// The counts of a server at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The counts of each method that was called.
    pub methods: Vec<MethodMetrics>,
    /// Ingests that are being written.
    pub ingests: i64,
}

/// The counts of a method at one moment.
#[derive(Clone, Debug)]
pub struct MethodMetrics {
    /// Its full name.
    pub method: &'static str,
    /// Calls in progress.
    pub open: i64,
    /// Bytes of requests.
    pub received: u64,
    /// Bytes of responses.
    pub sent: u64,
    /// Calls that have ended, by code.
    pub codes: Vec<(&'static str, u64)>,
    /// The histogram of durations: calls per bucket of `SECONDS`, then longer calls. The buckets are not cumulative.
    pub buckets: Vec<u64>,
    /// The sum of the durations of all calls that have ended, in seconds.
    pub seconds: f64,
    /// Calls refused because of a limit, by the name of the limit.
    pub refused: Vec<(&'static str, u64)>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self { methods: Method::ALL.iter().map(|_| Counts::default()).collect(), ingests: AtomicI64::new(0) }
    }

    fn of(&self, method: Method) -> &Counts {
        &self.methods[method as usize]
    }

    pub(crate) fn begin(&self, method: Method) {
        self.of(method).open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self, method: Method, code: Code, took: Duration) {
        let counts = self.of(method);
        counts.codes[code as usize].fetch_add(1, Ordering::Relaxed);
        let seconds = took.as_secs_f64();
        let bucket = SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(SECONDS.len());
        counts.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        counts.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        // `open` is changed last: a snapshot that shows no open call then includes all calls in its other counts.
        counts.open.fetch_sub(1, Ordering::Release);
    }

    pub(crate) fn refused(&self, method: Method, limit: &'static str) {
        *self.of(method).refused.lock().unwrap_or_else(PoisonError::into_inner).entry(limit).or_default() += 1;
    }

    pub(crate) fn received(&self, method: Method, bytes: u64) {
        self.of(method).received.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self, method: Method, bytes: u64) {
        self.of(method).sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn ingests(&self, change: i64) {
        self.ingests.fetch_add(change, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let methods = Method::ALL.iter().map(|method| self.of(*method).row(method.name()));
        let is_used = |row: &MethodMetrics| row.open > 0 || !row.codes.is_empty();
        Snapshot { methods: methods.filter(is_used).collect(), ingests: self.ingests.load(Ordering::Relaxed) }
    }
}

impl Counts {
    fn row(&self, method: &'static str) -> MethodMetrics {
        // `open` is read first: see `end`.
        let open = self.open.load(Ordering::Acquire);
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let codes = Code::ALL.iter().map(|code| (code.name(), load(&self.codes[*code as usize])));
        #[allow(clippy::cast_precision_loss, reason = "285 years of calls are counted exactly")]
        let seconds = load(&self.micros) as f64 / 1e6;
        MethodMetrics {
            method,
            open,
            received: load(&self.received),
            sent: load(&self.sent),
            codes: codes.filter(|(_, count)| *count > 0).collect(),
            buckets: self.buckets.iter().map(load).collect(),
            seconds,
            refused: self
                .refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .map(|(limit, count)| (*limit, *count))
                .collect(),
        }
    }
}
