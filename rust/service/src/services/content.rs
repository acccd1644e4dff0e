//! `containerd.services.content.v1.Content`, except Write.

use std::mem;
use std::sync::Arc;

use bytes::BytesMut;
use prost::Message as _;
use prost::encoding::{encode_varint, encoded_len_varint};
use steelyard_core::digest::Digest;
use steelyard_core::error::Error;

use crate::call::{Call, End};
use crate::grpc::send::put_prefix;
use crate::proto::content as pb;
use crate::refusal::Refusal;
use crate::store::Blob;
use crate::threads::Threads;
use crate::values::{EXACT, check_lease, check_ref, filters_value, info_message, labels_value, paths, status_message};

/// The most blobs of a List message; the same as in containerd.
const PAGE: usize = 100;

/// A List message is sent once it has this size, because blobs may have many labels.
const PAGE_BYTES: usize = 1 << 20;

/// The most bytes of a blob that are read at a time. They are in memory until the client takes them.
const READ_BYTES: usize = 256 << 10;

/// The data of a message up to this size is read before the client has room for it.
const READ_FIRST_BYTES: usize = 32 << 10;

/// The most bytes that are copied on a thread of the runtime, from the page cache.
const AT_ONCE: usize = 128 << 10;

/// A header of containerd's clients: the ID of a lease. It protects the blob that a Write stores or finds in the store. A Delete or Abort
/// also removes the blob or ingest from the lease.
const LEASE: &str = "containerd-lease";

pub(super) async fn info(call: &mut Call) -> Result<(), End> {
    let request: pb::InfoRequest = call.request().await?;
    let digest = named(call, &request.digest)?;
    let info = if let Some(info) = call.shared.store.info_now(&digest) {
        info
    } else {
        let info = call.store(move |store| store.info(&digest)).await?;
        call.shared.opened.notify_one();
        info
    };
    call.answer(&pb::InfoResponse { info: Some(info_message(&info)) }).await
}

pub(super) async fn update(call: &mut Call) -> Result<(), End> {
    let request: pb::UpdateRequest = call.request().await?;
    let given = request.info.unwrap_or_default();
    let digest = named(call, &given.digest)?;
    let labels = labels_value(given.labels, call.header(EXACT).is_some());
    let paths = paths(request.update_mask);
    let info = call.store(move |store| store.update(&digest, labels, &paths)).await?;
    call.answer(&pb::UpdateResponse { info: Some(info_message(&info)) }).await
}

pub(super) async fn list(call: &mut Call) -> Result<(), End> {
    let request: pb::ListContentRequest = call.request().await?;
    let filters = filters_value(request.filters)?;
    let mut walk = call.store(move |store| store.walk(&filters)).await?;
    let (mut page, mut size) = (Vec::new(), 0);
    loop {
        let infos;
        (walk, infos) = call
            .store(move |_| {
                let infos = walk.next()?;
                Ok((walk, infos))
            })
            .await?;
        if infos.is_empty() {
            break;
        }
        for info in infos {
            let message = info_message(&info);
            size += message.encoded_len();
            page.push(message);
            if page.len() == PAGE || size >= PAGE_BYTES {
                call.send(&pb::ListContentResponse { info: mem::take(&mut page) }).await?;
                size = 0;
            }
        }
    }
    if page.is_empty() { Ok(()) } else { call.send(&pb::ListContentResponse { info: page }).await }
}

pub(super) async fn delete(call: &mut Call) -> Result<(), End> {
    let request: pb::DeleteContentRequest = call.request().await?;
    let digest = named(call, &request.digest)?;
    let lease = lease_of(call)?;
    let deleted = call.store(move |store| store.delete(lease.as_deref(), &digest)).await;
    absent_is_fine(call, deleted)?;
    call.answer(&()).await
}

pub(super) async fn read(call: &mut Call) -> Result<(), End> {
    let request: pb::ReadContentRequest = call.request().await?;
    let digest = named(call, &request.digest)?;
    let blob = match call.shared.store.blob_now(&digest) {
        Some(blob) => blob,
        None => call.store(move |store| store.blob(&digest)).await?,
    };
    let open = Open { blob: Some(blob), threads: call.shared.threads.clone() };
    let blob = open.blob();
    call.shared.opened.notify_one();
    let (start, whole) = (u64::try_from(request.offset).unwrap_or(0), blob.size());
    let Some(mut size) = whole.checked_sub(start) else {
        return Err(Error::OutOfRange { name: digest.to_string(), offset: start, size: whole }.into());
    };
    if let Ok(most) = u64::try_from(request.size)
        && most > 0
    {
        size = size.min(most);
    }
    let mut done = 0;
    while done < size {
        let length = (call.shared.settings.read_bytes as u64).min(size - done);
        send_part(call, blob, Part { at: start + done, offset: done, length: usize::try_from(length).unwrap_or(0) })
            .await?;
        done += length;
    }
    call.is_answered = true;
    Ok(())
}

/// A blob that a Read uses. If closing it may block, it is closed on a thread of the store.
struct Open {
    blob: Option<Arc<dyn Blob>>,
    threads: Threads,
}

impl Open {
    fn blob(&self) -> &Arc<dyn Blob> {
        self.blob.as_ref().unwrap_or_else(|| unreachable!("it is taken at the end"))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(blob) = self.blob.take()
            && !blob.closes_at_once()
        {
            self.threads.run_always(move || drop(blob));
        }
    }
}

/// The data of a message.
struct Part {
    /// The offset in the blob.
    at: u64,
    /// The offset in the message. As in containerd, it counts from the start of the requested range.
    offset: u64,
    length: usize,
}

/// Send a message with bytes of a blob. Bytes of a large message are read when the client has room for them.
async fn send_part(call: &mut Call, blob: &Arc<dyn Blob>, part: Part) -> Result<(), End> {
    let Part { at, offset, length } = part;
    let head = 2 + encoded_len_varint(offset) + encoded_len_varint(length as u64);
    // The memory for a large message is allocated in pieces, when the client has room for them.
    let mut bytes = BytesMut::with_capacity(5 + head + if length <= READ_FIRST_BYTES { length } else { 0 });
    put_prefix(&mut bytes, head + length);
    bytes.extend_from_slice(&[0x08]); // field 1 of ReadContentResponse: an integer
    encode_varint(offset, &mut bytes);
    bytes.extend_from_slice(&[0x12]); // field 2: bytes
    encode_varint(length as u64, &mut bytes);
    let mut done = 0;
    if length <= READ_FIRST_BYTES {
        // Data is read before anything is sent, so that headers and data are sent together.
        let read = read_piece(call, blob, bytes, at, length).await?;
        return call.send_bytes(read.freeze(), head + length).await;
    }
    while done < length {
        let room = call.room((length - done + bytes.len()).min(READ_BYTES)).await?;
        let piece = room.saturating_sub(bytes.len()).clamp(1, length - done);
        let read = read_piece(call, blob, bytes, at + done as u64, piece).await;
        let read = read.map_err(|end| if done == 0 { end } else { cut(call, end) })?;
        call.sender.bytes(read.freeze())?;
        bytes = BytesMut::new();
        done += piece;
    }
    call.count_sent((head + length) as u64);
    Ok(())
}

/// Append `size` bytes of a blob to `bytes`.
async fn read_piece(
    call: &Call,
    blob: &Arc<dyn Blob>,
    mut bytes: BytesMut,
    at: u64,
    size: usize,
) -> Result<BytesMut, End> {
    let from = bytes.len();
    bytes.resize(from + size, 0);
    if size <= AT_ONCE && blob.read_now(&mut bytes[from..], at) {
        return Ok(bytes);
    }
    let blob = Arc::clone(blob);
    let read = move || {
        blob.read_at(&mut bytes[from..], at)?;
        Ok(bytes)
    };
    Ok(call.shared.threads.run(read).await?)
}

/// Convert an error that occurred within a message: it cannot be sent, so the call is reset and the error is logged.
fn cut(call: &Call, end: End) -> End {
    if let End::Refused(refused) = &end {
        call.log_refusal(refused);
        return End::Gone(refused.code);
    }
    end
}

pub(super) async fn status(call: &mut Call) -> Result<(), End> {
    let request: pb::StatusRequest = call.request().await?;
    let name = ref_of(call, request.r#ref)?;
    let status = call.store(move |store| store.status(&name)).await?;
    call.answer(&pb::StatusResponse { status: Some(status_message(&status)) }).await
}

pub(super) async fn list_statuses(call: &mut Call) -> Result<(), End> {
    let request: pb::ListStatusesRequest = call.request().await?;
    let filters = filters_value(request.filters)?;
    let statuses = call.store(move |store| store.statuses(&filters)).await?;
    call.answer(&pb::ListStatusesResponse { statuses: statuses.iter().map(status_message).collect() }).await
}

pub(super) async fn abort(call: &mut Call) -> Result<(), End> {
    let request: pb::AbortRequest = call.request().await?;
    let name = ref_of(call, request.r#ref)?;
    let lease = lease_of(call)?;
    let freed = name.clone();
    let aborted = call.store(move |store| store.abort(lease.as_deref(), &name)).await;
    if aborted.is_ok() {
        call.shared.released(freed);
    }
    absent_is_fine(call, aborted)?;
    call.answer(&()).await
}

/// The lease in the headers of a call, if there is one and the service offers leases.
pub(super) fn lease_of(call: &Call) -> Result<Option<String>, Refusal> {
    let Some(lease) = call.header(LEASE).filter(|_| call.shared.settings.leases) else { return Ok(None) };
    check_lease(&lease)?;
    Ok(Some(lease))
}

/// Treat the removal of a missing blob or ingest as success, except for Steelyard's client.
///
/// containerd keeps its record of an ingest if the Abort fails, and ends its garbage collection at the first Delete that fails.
fn absent_is_fine(call: &Call, removed: Result<(), Refusal>) -> Result<(), Refusal> {
    match removed {
        Err(refused) if refused.is_absence() && call.header(EXACT).is_none() => Ok(()),
        other => other,
    }
}

fn named(call: &mut Call, text: &str) -> Result<Digest, Refusal> {
    let digest = Digest::parse(text)?;
    call.subject = digest.to_string();
    Ok(digest)
}

fn ref_of(call: &mut Call, name: String) -> Result<String, Refusal> {
    check_ref(&name)?;
    call.subject.clone_from(&name);
    Ok(name)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread::current;

    use super::*;
    use crate::store::Result;

    /// A blob whose file has no name any more. Reports the thread on which it is closed.
    struct Nameless(Sender<String>);

    impl Blob for Nameless {
        fn size(&self) -> u64 {
            0
        }

        fn read_at(&self, _: &mut [u8], _: u64) -> Result<()> {
            Ok(())
        }

        fn closes_at_once(&self) -> bool {
            false
        }
    }

    impl Drop for Nameless {
        fn drop(&mut self) {
            self.0.send(current().name().unwrap_or_default().to_owned()).unwrap();
        }
    }

    #[test]
    fn a_blob_whose_end_takes_long_is_closed_on_a_thread_of_the_store() {
        let (closed, on) = channel();
        let threads = Threads::new(1);
        threads.start().unwrap();
        drop(Open { blob: Some(Arc::new(Nameless(closed))), threads: threads.clone() });
        assert_eq!("steelyard-serve", on.recv().unwrap());
        threads.close();
    }
}
