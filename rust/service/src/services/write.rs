//! The Write call: one ingest, controlled by the messages of one stream.
//!
//! Each message is answered before the next one is processed. docs/containerd.md has the rules that the types do not show.

use std::sync::Arc;

use bytes::Bytes;
use steelyard_core::digest::{Algorithm, Digest};
use steelyard_core::error::Error;
use steelyard_core::model::Labels;
use steelyard_core::store::ingest::Pushed;
use tokio::sync::oneshot;

use super::content::lease_of;
use super::write_message::{Incoming, receive, receive_labels};
use crate::call::{Call, End};
use crate::proto::content::{WriteAction, WriteContentRequest, WriteContentResponse};
use crate::refusal::Refusal;
use crate::shared::Shared;
use crate::store::{Ingest, Opening, Store};
use crate::times::timestamp;
use crate::values::{EXACT, check_ref, labels_value, signed};

/// A header of Steelyard's client: the algorithm of the digests in the responses, if there is no `expected`.
const ALGORITHM: &str = "steelyard-algorithm";

/// Bytes that are gathered for one `write` on a thread, if the ingest does not accept them with `push`.
const GATHERED: usize = 1 << 20;

const WRITE: i32 = WriteAction::Write as i32;
const COMMIT: i32 = WriteAction::Commit as i32;

/// An action of our own client. The answer comes when the bytes so far are durable. A containerd answers it like STAT.
const SYNC: i32 = 3;

/// Serve a Write call.
///
/// However the call ends, the ingest is closed. Its bytes are kept, unless it was committed or aborted.
pub(super) async fn write(call: &mut Call) -> Result<(), End> {
    let first = receive(call).await?.ok_or_else(|| Refusal::malformed("the call ended without a request"))?;
    check_ref(&first.request.r#ref)?;
    call.subject.clone_from(&first.request.r#ref);
    let mut stream = open(call, &first.request).await?;
    let served = serve(call, &mut stream, first).await;
    // The ingest is closed before the client is told the outcome, because the client may open the ref again at once.
    stream.close().await;
    served
}

/// Answer each message.
async fn serve(call: &mut Call, stream: &mut Stream, first: Incoming) -> Result<(), End> {
    let mut message = first;
    loop {
        let (action, answer) = stream.answer(call, message).await?;
        if action == COMMIT {
            return call.answer(&answer).await;
        }
        call.send(&answer).await?;
        match receive(call).await? {
            Some(next) => message = next,
            None => return Ok(()),
        }
    }
}

/// An open ingest, with the total and the expected digest that the client has sent so far.
struct Stream {
    shared: Arc<Shared>,
    opening: Opening,
    lease: Option<String>,
    exact: bool,
    /// The total that the client has sent, 0 if none. No size matches a negative total; a later message can replace it.
    total: i64,
    /// `None` once it is closed.
    ingest: Option<Arc<dyn Ingest>>,
    /// The last answer. It stays correct, except for the total, until a message changes the ingest.
    last: Option<WriteContentResponse>,
}

async fn open(call: &mut Call, first: &WriteContentRequest) -> Result<Stream, End> {
    let algorithm = call.header(ALGORITHM).map(|name| Algorithm::parse(&name)).transpose()?;
    let opening = Opening {
        name: first.r#ref.clone(),
        total: u64::try_from(first.total).ok().filter(|total| *total > 0),
        expected: expected(first)?,
        algorithm,
    };
    let (shared, lease) = (Arc::clone(&call.shared), lease_of(call)?);
    let exact = call.header(EXACT).is_some();
    let mut stream = Stream { shared, opening, lease, exact, total: first.total, ingest: None, last: None };
    let (lease, opening) = (stream.lease.clone(), stream.opening.clone());
    // CANCEL: if the call is cancelled meanwhile, the opened ingest is dropped, which closes it.
    let opened = call.store(move |store| store.ingest(lease.as_deref(), &opening)).await?;
    call.shared.metrics.ingests(1);
    stream.ingest = Some(opened);
    Ok(stream)
}

fn expected(request: &WriteContentRequest) -> Result<Option<Digest>, Refusal> {
    if request.expected.is_empty() { Ok(None) } else { Ok(Some(Digest::parse(&request.expected)?)) }
}

impl Stream {
    fn ingest(&self) -> Result<Arc<dyn Ingest>, Refusal> {
        let closed = || Refusal::from(Error::Closed { name: self.opening.name.clone() });
        self.ingest.as_ref().map(Arc::clone).ok_or_else(closed)
    }

    /// Process a message. Returns its action and the answer.
    ///
    /// As in containerd, three things are ignored: a ref after the first message, the data of a STAT, and an unknown action.
    async fn answer(&mut self, call: &mut Call, message: Incoming) -> Result<(i32, WriteContentResponse), End> {
        let Incoming { request, rest } = message;
        self.take_hints(call, &request).await?;
        let action = request.action;
        let appends = matches!(action, WRITE | COMMIT);
        let Some(rest) = rest else {
            if !appends
                && action != SYNC
                && let Some(last) = &self.last
                && !(last.digest.is_empty() && last.offset > 0)
                // An empty push fails if the ingest was aborted, and does not wait. Other stores return `Short`.
                && self.ingest()?.push(&[])? == Pushed::Taken
            {
                let total = if self.total == 0 { last.total } else { self.total };
                return Ok((action, WriteContentResponse { action, total, ..last.clone() }));
            }
            let data = if appends { Some((request.offset, request.data)) } else { None };
            return Ok((action, self.act(action, data, request.labels).await?));
        };
        let before = request.labels;
        let size = request.data.len() + rest.data;
        if appends {
            if !self.continues(request.offset) {
                self.prepare(request.offset).await?;
            }
            self.append(call, request.data, rest.data).await?;
        } else {
            skip(call, rest.data).await?;
        }
        let labels = receive_labels(call, before, rest.after).await?;
        if action == WRITE
            && self.continues(request.offset)
            && let Some(last) = &mut self.last
        {
            last.offset += signed(size as u64);
            last.digest.clear();
            let total = if self.total == 0 { last.total } else { self.total };
            return Ok((action, WriteContentResponse { action, total, ..last.clone() }));
        }
        Ok((action, self.act(action, None, labels).await?))
    }

    /// Whether a message appends at the end of the ingest and comes from Steelyard's client, which sends a STAT when it needs the digest.
    ///
    /// The answer is then known without the ingest: nothing waits for the hash, which is computed while further messages arrive.
    fn continues(&self, offset: i64) -> bool {
        self.exact && self.last.as_ref().is_some_and(|last| last.offset == offset)
    }

    /// Take the total and the expected digest from a message, as far as it has them.
    async fn take_hints(&mut self, call: &Call, request: &WriteContentRequest) -> Result<(), End> {
        if request.total > 0 {
            self.total = request.total;
        }
        let before = self.opening.expected;
        if let Some(expected) = expected(request)?
            && before != Some(expected)
        {
            self.opening.expected = Some(expected);
            self.refuse_stored(call, expected).await?;
        }
        Ok(())
    }

    /// End the ingest if the expected blob is stored already.
    ///
    /// A store protects a blob that it finds, by the lease or for the grace time, only when it opens an ingest. So the ingest is closed and
    /// opened again, which fails with `ALREADY_EXISTS`. If the blob has been removed meanwhile, opening succeeds, and the ingest continues.
    async fn refuse_stored(&mut self, call: &Call, expected: Digest) -> Result<(), End> {
        let (ingest, lease) = (self.ingest()?, self.lease.clone());
        let opening = Opening { total: None, ..self.opening.clone() };
        let again = move |store: &dyn Store| {
            match store.info(&expected) {
                Err(refused) if refused.is_absence() => return Ok(None),
                other => other?,
            };
            // Fails if the ingest was aborted: the ref may belong to another writer by now.
            ingest.status()?;
            ingest.close();
            store.ingest(lease.as_deref(), &opening).map(Some)
        };
        if let Some(ingest) = call.store(again).await? {
            (self.ingest, self.last) = (Some(ingest), None);
        }
        Ok(())
    }

    /// Move the end of the ingest to the offset of a message.
    async fn prepare(&self, offset: i64) -> Result<(), Refusal> {
        let (ingest, name) = (self.ingest()?, self.opening.name.clone());
        self.shared.threads.run(move || prepare(&*ingest, &name, offset)).await
    }

    /// Append the data of a message that is received in parts: `first`, and `rest` further bytes.
    async fn append(&self, call: &mut Call, first: Bytes, mut rest: usize) -> Result<(), End> {
        let ingest = self.ingest()?;
        let mut data = first;
        loop {
            match if data.is_empty() { Pushed::Taken } else { ingest.push(&data)? } {
                Pushed::Taken if rest == 0 => return Ok(()),
                Pushed::Taken => {
                    data = call.receive_some(rest).await?;
                    rest -= data.len();
                }
                Pushed::Full => self.room(&ingest, data.len()).await?,
                Pushed::Short => {
                    let more = GATHERED.saturating_sub(data.len()).min(rest);
                    let mut gathered = Vec::with_capacity(data.len() + more);
                    gathered.extend_from_slice(&data);
                    gathered.extend_from_slice(&call.receive_exactly(more).await?);
                    rest -= more;
                    let ingest = Arc::clone(&ingest);
                    self.shared.threads.run(move || ingest.write(&gathered)).await?;
                    data = Bytes::new();
                }
            }
        }
    }

    /// Wait until there is room for `size` bytes.
    async fn room(&self, ingest: &Arc<dyn Ingest>, size: usize) -> Result<(), Refusal> {
        let (notify, notified) = oneshot::channel();
        if !ingest.when_room(size, Box::new(move || notify.send(()).unwrap_or_default())) {
            let ingest = Arc::clone(ingest);
            self.shared.threads.run_always(move || ingest.flush());
        }
        // If there is no notification, the sender is dropped, which ends this wait too.
        drop(notified.await);
        Ok(())
    }

    /// Append the data of a small message, commit if that is the action, and return the answer.
    async fn act(
        &mut self,
        action: i32,
        data: Option<(i64, Bytes)>,
        labels: Labels,
    ) -> Result<WriteContentResponse, Refusal> {
        let (ingest, name, total) = (self.ingest()?, self.opening.name.clone(), self.total);
        let labels = labels_value(labels, self.exact);
        let expected = self.opening.expected;
        let acted = move || {
            if let Some((offset, data)) = data {
                prepare(&*ingest, &name, offset)?;
                if !data.is_empty() {
                    ingest.write(&data)?;
                }
            }
            if action == SYNC {
                ingest.sync()?;
            }
            if action != COMMIT {
                return response(&*ingest, action, total);
            }
            let status = ingest.status()?;
            if total < 0 {
                return Err(Refusal::wrong_total(&name, total, status.offset));
            }
            let size = u64::try_from(total).ok().filter(|total| *total > 0);
            let info = ingest.commit(size, expected.as_ref(), Some(labels).filter(|labels| !labels.is_empty()))?;
            Ok(WriteContentResponse {
                action: COMMIT,
                started_at: Some(timestamp(status.started_ns)),
                updated_at: Some(timestamp(info.updated_ns)),
                offset: signed(info.size),
                total: if total == 0 { signed(info.size) } else { total },
                digest: info.digest.to_string(),
            })
        };
        let answer = self.shared.threads.run(acted).await?;
        self.last = Some(answer.clone());
        Ok(answer)
    }

    /// Close the ingest: its bytes are kept durably, and its ref becomes free.
    async fn close(&mut self) {
        let (done, is_done) = oneshot::channel();
        if let Some(end) = self.end() {
            let end = move || {
                end();
                done.send(()).unwrap_or_default();
            };
            self.shared.threads.run_always(end);
            drop(is_done.await);
        }
    }

    /// Return a function that closes the ingest, for a thread that may block; `None` if it is closed already.
    fn end(&mut self) -> Option<impl FnOnce() + Send + use<>> {
        let ingest = self.ingest.take()?;
        let (shared, name) = (Arc::clone(&self.shared), self.opening.name.clone());
        Some(move || {
            ingest.close();
            shared.metrics.ingests(-1);
            shared.released(name);
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // CANCEL: the call was dropped. The bytes are kept, and the ref becomes free once a thread has closed the ingest.
        if let Some(end) = self.end() {
            self.shared.threads.run_always(end);
        }
    }
}

/// Move the end of an ingest to the offset of a message: 0 starts over, a negative offset appends at the end.
fn prepare(ingest: &dyn Ingest, name: &str, offset: i64) -> Result<(), Refusal> {
    // `status` fails for an aborted ingest. A counter in memory would not.
    let current = ingest.status()?.offset;
    match u64::try_from(offset) {
        Ok(0) if current > 0 => ingest.truncate(0),
        Ok(offset) if offset != current && offset > 0 => Err(Refusal::wrong_offset(name, offset, current)),
        _ => Ok(()),
    }
}

fn response(ingest: &dyn Ingest, action: i32, total: i64) -> Result<WriteContentResponse, Refusal> {
    let status = ingest.status()?;
    Ok(WriteContentResponse {
        action,
        started_at: Some(timestamp(status.started_ns)),
        updated_at: Some(timestamp(status.updated_ns)),
        offset: signed(status.offset),
        total: if total == 0 { signed(status.total.unwrap_or(0)) } else { total },
        digest: ingest.digest()?.to_string(),
    })
}

/// Receive `rest` bytes of data and discard them.
async fn skip(call: &mut Call, mut rest: usize) -> Result<(), End> {
    while rest > 0 {
        rest -= call.receive_some(rest).await?.len();
    }
    Ok(())
}
