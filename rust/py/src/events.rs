//! `Events` and `Subscription`: the delivery of changes to subscribers.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use steelyard_core::digest::Digest;
use steelyard_core::error::{Error, Result as CoreResult};
use steelyard_core::model::{Event, EventKind, Removal};
use steelyard_core::sys::{FileId, Process, ProcessBound};
use steelyard_core::volume::Volume;
use steelyard_core::volume::events::{self, Item};

use crate::errors::Result;
use crate::filter::Filter;
use crate::handle::{End, Opened};
use crate::rows::optional_digest;
use crate::wait::Wait;

/// type, time (ns), digest, size, name, lease, previous digest, reason, labels, missed events
type EventRow = (
    &'static str,
    i64,
    Option<String>,
    Option<u64>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<&'static str>,
    BTreeMap<String, String>,
    u64,
);

/// The same row, from Python.
pub(crate) type GivenRow = (
    String,
    i64,
    Option<String>,
    Option<u64>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    BTreeMap<String, String>,
    u64,
);

/// The sources of events of the roots that are open in a process. Locked only with the GIL held, and so never during a fork.
static SOURCES: Mutex<Vec<(Process, FileId, Weak<events::Events>)>> = Mutex::new(Vec::new());

/// Make all stores of one root in this process share one source of events. The argument `_py` proves that the GIL is held.
pub(crate) fn share(_py: Python<'_>, volume: &Volume) {
    let Some(root) = volume.identity() else { return };
    let process = Process::current();
    let mut sources = SOURCES.lock().unwrap_or_else(PoisonError::into_inner);
    sources.retain(|(_, _, source)| source.strong_count() > 0);
    let known = sources.iter().find(|(of, id, _)| *of == process && *id == root);
    match known.and_then(|(_, _, source)| source.upgrade()) {
        Some(source) => volume.share_events(source),
        None => sources.push((process, root, Arc::downgrade(volume.events()))),
    }
}

/// The source of the events of a store in memory.
#[pyclass(frozen, module = "steelyard._native")]
#[derive(Default)]
pub(crate) struct Events(Arc<events::Events>);

#[pymethods]
impl Events {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Whether there is a subscriber.
    #[getter]
    fn active(&self) -> bool {
        self.0.is_active()
    }

    /// Deliver an event.
    #[pyo3(signature = (event, /))]
    fn publish(&self, event: GivenRow) -> Result<()> {
        if let Item::Event(event) = item(event)?
            && let Some(report) = self.0.begin(|| Arc::unwrap_or_clone(event))
        {
            report.done();
        }
        Ok(())
    }

    #[pyo3(signature = (filter, most, /))]
    fn subscribe(&self, filter: &Filter, most: usize) -> Subscription {
        Subscription(ProcessBound::new(Arc::new(self.0.subscribe(filter.compiled().clone(), most))))
    }
}

/// A subscription. It ends when it is closed or dropped.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Subscription(ProcessBound<Arc<events::Subscription>>);

impl Subscription {
    /// A subscription that ends with its store.
    pub(crate) fn of_store(volume: &Volume, filter: &Filter, most: usize, opened: &Opened) -> CoreResult<Self> {
        let core = Arc::new(volume.events().subscribe(filter.compiled().clone(), most));
        let entry: Weak<dyn End> = Arc::downgrade(&core) as _;
        opened.add(entry)?;
        Ok(Self(ProcessBound::new(core)))
    }

    fn core(&self) -> CoreResult<&Arc<events::Subscription>> {
        self.0.get(|| "events".to_owned())
    }
}

impl End for events::Subscription {
    fn end(&self, _reason: &Error) -> CoreResult<()> {
        events::Subscription::end(self);
        Ok(())
    }
}

#[pymethods]
impl Subscription {
    /// Whether `take` may need milliseconds.
    #[getter]
    fn is_slow(&self) -> Result<bool> {
        Ok(self.core()?.has_expressions())
    }

    /// Take at most `most` of the waiting events; None when there will be no more.
    #[pyo3(signature = (most, /))]
    fn take(&self, py: Python<'_>, most: usize) -> Result<Option<Vec<EventRow>>> {
        let core = self.core()?;
        let items = if core.has_expressions() { py.detach(|| core.take(most)) } else { core.take(most) };
        Ok(items.map(|items| items.into_iter().map(row).collect()))
    }

    /// A wait for events to take; `wake` ends it too.
    #[getter]
    fn ready(&self) -> Result<Wait> {
        Ok(Wait::for_events(Arc::clone(self.core()?)))
    }

    /// Block until there are events to take, for at most this time.
    #[pyo3(signature = (seconds, /))]
    fn wait(&self, py: Python<'_>, seconds: f64) -> Result<()> {
        let core = Arc::clone(self.core()?);
        py.detach(move || {
            let (notify, notified) = channel();
            core.when_ready(Box::new(move || notify.send(()).unwrap_or_default()));
            notified.recv_timeout(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)).unwrap_or_default();
        });
        Ok(())
    }

    fn wake(&self) -> Result<()> {
        self.core()?.wake();
        Ok(())
    }

    fn close(&self) {
        if let Some(core) = self.0.here() {
            events::Subscription::end(core);
        }
    }
}

/// Convert a row from Python to an item.
pub(crate) fn item(row: GivenRow) -> Result<Item> {
    let (kind, at_ns, digest, size, name, lease, previous, reason, labels, missed) = row;
    if missed > 0 {
        return Ok(Item::Missed(missed));
    }
    let kind = EventKind::ALL.into_iter().find(|each| each.name() == kind);
    let kind = kind.ok_or_else(|| PyValueError::new_err("no such type of event"))?;
    let reason = reason.and_then(|reason| Removal::ALL.into_iter().find(|each| each.name() == reason));
    let (digest, previous) = (optional_digest(digest.as_deref())?, optional_digest(previous.as_deref())?);
    let labels = Arc::new(labels);
    Ok(Item::Event(Arc::new(Event { kind, at_ns, digest, size, name, lease, previous, reason, labels })))
}

fn row(item: Item) -> EventRow {
    let event = match item {
        Item::Missed(count) => return ("missed", 0, None, None, None, None, None, None, BTreeMap::new(), count),
        Item::Event(event) => event,
    };
    let text = |digest: &Option<Digest>| digest.as_ref().map(ToString::to_string);
    (
        event.kind.name(),
        event.at_ns,
        text(&event.digest),
        event.size,
        event.name.clone(),
        event.lease.clone(),
        text(&event.previous),
        event.reason.map(Removal::name),
        event.labels.as_ref().clone(),
        0,
    )
}
