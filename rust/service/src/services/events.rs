//! `containerd.services.events.v1.Events`: the changes made by this process, as containerd's events.

use std::borrow::Cow;
use std::time::Duration;

use prost::Message;
use prost_types::Any;
use steelyard_core::filter::{Filter, Subject, Value};
use steelyard_core::model::{Event, EventKind, Labels};
use steelyard_core::volume::events::Item;
use tokio::sync::oneshot;

use crate::call::{Call, End};
use crate::grpc::code::Code;
use crate::proto::containerd::events::{ContentCreate, ContentDelete};
use crate::proto::events::{Envelope, SubscribeRequest};
use crate::proto::images::{ImageCreate, ImageDelete, ImageUpdate};
use crate::refusal::Refusal;
use crate::shared::Phase;
use crate::store::Events;
use crate::times::timestamp;
use crate::values::{filters_value, signed};

/// The types of events that containerd has too.
const TYPES: [&str; 5] = ["type==created", "type==deleted", "type==name_set", "type==name_moved", "type==name_removed"];

/// How long each wait lasts on a store that cannot notify.
const LOOK: Duration = Duration::from_secs(1);

/// Send each event that matches, until the client ends the call or the server drains.
pub(super) async fn subscribe(call: &mut Call) -> Result<(), End> {
    let request: SubscribeRequest = call.request().await?;
    let filters = filters_value(request.filters)?;
    let filter = call.store(move |_| Ok(Filter::compile(&filters)?)).await?;
    let namespace = call.header("containerd-namespace").unwrap_or_else(|| "default".to_owned());
    let shared = call.shared.clone();
    let Ok(_place) = shared.limits.subscribers.try_acquire() else {
        let text = format!("{} calls wait for events, which is the limit", shared.watching());
        return Err(Refusal::busy("subscribers", &text).into());
    };
    let mut events = call.store(|store| store.events(&TYPES)).await?;
    // The headers tell the client that it receives all events from now on.
    call.sender.begin()?;
    loop {
        let taken;
        (events, taken) = call
            .store(move |_| {
                let taken = events.take()?;
                Ok((events, taken))
            })
            .await?;
        let Some(items) = taken else { return Ok(()) };
        if items.is_empty() {
            tokio::select! {
                waited = wait(call.shared.threads.clone(), events) => events = waited?,
                () = shared.until(Phase::Draining) => return Ok(()),
                () = call.sender.gone() => return Err(End::Gone(Code::Cancelled)),
            }
        }
        for item in items {
            let change = match item {
                Item::Event(event) => Change::new(&event, &namespace),
                Item::Missed(count) => {
                    let text = format!("the client is too slow: {count} events were dropped");
                    return Err(Refusal::exhausted("events", &text).into());
                }
            };
            if filter.matches(&change) {
                call.send(&change.envelope()).await?;
            }
        }
    }
}

async fn wait(threads: crate::threads::Threads, events: Box<dyn Events>) -> Result<Box<dyn Events>, Refusal> {
    let (notify, notified) = oneshot::channel();
    if events.when_ready(Box::new(move || notify.send(()).unwrap_or_default())) {
        // If the subscription ends without a notification, the sender is dropped, which ends this wait too.
        drop(notified.await);
        return Ok(events);
    }
    let waited = move || {
        events.wait(LOOK);
        Ok(events)
    };
    threads.run(waited).await
}

/// An event in containerd's form.
struct Change<'a> {
    namespace: &'a str,
    topic: &'static str,
    at_ns: i64,
    digest: Option<String>,
    name: Option<String>,
    labels: Labels,
    message: Any,
}

impl<'a> Change<'a> {
    fn new(event: &Event, namespace: &'a str) -> Self {
        let digest = event.digest.map(|digest| digest.to_string()).unwrap_or_default();
        let name = event.name.clone().unwrap_or_default();
        let (topic, at_ns) = ("", event.at_ns);
        let blank =
            Self { namespace, topic, at_ns, digest: None, name: None, labels: Labels::new(), message: Any::default() };
        let labels = (*event.labels).clone();
        match event.kind {
            EventKind::Created => {
                let message = ContentCreate { digest: digest.clone(), size: signed(event.size.unwrap_or(0)) };
                let message = any("containerd.events.ContentCreate", &message);
                Self { topic: "/content/create", digest: Some(digest), message, ..blank }
            }
            EventKind::Deleted => {
                let message = any("containerd.events.ContentDelete", &ContentDelete { digest: digest.clone() });
                Self { topic: "/content/delete", digest: Some(digest), message, ..blank }
            }
            EventKind::NameRemoved => {
                let message = any("containerd.services.images.v1.ImageDelete", &ImageDelete { name: name.clone() });
                Self { topic: "/images/delete", name: Some(name), message, ..blank }
            }
            _ if event.previous.is_none() => {
                let message = ImageCreate { name: name.clone(), labels: labels.clone() };
                let message = any("containerd.services.images.v1.ImageCreate", &message);
                Self { topic: "/images/create", name: Some(name), labels, message, ..blank }
            }
            _ => {
                let message = ImageUpdate { name: name.clone(), labels: labels.clone() };
                let message = any("containerd.services.images.v1.ImageUpdate", &message);
                Self { topic: "/images/update", name: Some(name), labels, message, ..blank }
            }
        }
    }

    fn envelope(self) -> Envelope {
        Envelope {
            timestamp: Some(timestamp(self.at_ns)),
            namespace: self.namespace.to_owned(),
            topic: self.topic.to_owned(),
            event: Some(self.message),
        }
    }
}

/// The fields of containerd's event filters.
impl Subject for Change<'_> {
    fn field(&self, path: &[String]) -> Option<Value<'_>> {
        let path: Vec<_> = path.iter().map(String::as_str).collect();
        let text = |text: &'_ str| Some(Value::Text(Cow::Owned(text.to_owned())));
        match path.as_slice() {
            ["namespace"] => text(self.namespace),
            ["topic"] => text(self.topic),
            ["event", "labels", key @ ..] if !key.is_empty() => {
                self.labels.get(&key.join(".")).and_then(|value| text(value))
            }
            ["event", "digest"] => self.digest.as_deref().and_then(text),
            ["event", "name"] => self.name.as_deref().and_then(text),
            _ => None,
        }
    }
}

/// Pack a message into an `Any`. Like containerd, the type URL has no host.
fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: name.to_owned(), value: message.encode_to_vec() }
}
