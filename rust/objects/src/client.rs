//! One bucket at one server.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use object_store::list::{PaginatedListOptions, PaginatedListStore as _};
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::{
    Attribute, AttributeValue, Attributes, BackoffConfig, ClientOptions, GetOptions, GetRange, GetResult, ObjectMeta,
    ObjectStore as _, ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, RetryConfig,
};
use steelyard_core::sys::ProcessBound;
use tokio::task::JoinSet;

use crate::body::Body;
use crate::bucket::{Bucket, LONGEST_PAUSE, path};
use crate::error::{Error, Kind, Result};
use crate::operation::{Meta, Operation, Outcome, Page, Payload};
use crate::request::{Ending, Request};
use crate::runtime::{Limits, SLOWEST, Threads, threads};

/// The error code if the system refuses a thread without a code.
const EAGAIN: i32 = 11;

/// The name of the metadata that marks an object as written by this crate.
const MARK: &str = "steelyard";

/// The settings of a client.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Settings of `object_store`, with its names: `bucket`, `region`, `endpoint`, `access_key_id` and so on.
    pub options: Vec<(String, String)>,
    /// How often a request is tried again.
    pub retries: usize,
    /// The longest time for a request with all its attempts, in seconds, without the time for the transfer of its bytes.
    pub timeout: u64,
}

/// One bucket at one server.
pub struct Client {
    bucket: Arc<Bucket>,
    threads: Arc<ProcessBound<Threads>>,
    timeout: u64,
}

/// The resources that a request uses. It does not own the threads: the last client ends them and waits for them.
#[derive(Clone)]
struct Means {
    bucket: Arc<Bucket>,
    limits: Arc<Limits>,
    timeout: u64,
}

impl Client {
    /// A client. It connects at the first request.
    pub fn new(settings: &Settings) -> Result<Self> {
        // TLS needs a library for its algorithms. If another part of the process has chosen one, that one is used.
        rustls::crypto::ring::default_provider().install_default().ok();
        let threads = threads()
            .map_err(|error| Error::new(Kind::NoThread(error.raw_os_error().unwrap_or(EAGAIN)), error.to_string()))?;
        let here =
            threads.get(|| "object store".to_owned()).map_err(|error| Error::new(Kind::Invalid, error.to_string()))?;
        let _inside = here.handle().enter();
        Ok(Self { bucket: Arc::new(bucket(settings)?), timeout: settings.timeout, threads: Arc::clone(&threads) })
    }

    /// Start a request.
    pub fn start(&self, operation: Operation) -> Arc<Request> {
        self.spawn(|means| means.make(operation))
    }

    /// Start several requests as one `Request`, which ends when all have ended. Each has its own place, deadline and outcome.
    pub fn start_all(&self, operations: Vec<Operation>) -> Arc<Request> {
        self.spawn(|means| means.make_all(operations))
    }

    fn spawn<Work>(&self, work: impl FnOnce(Means) -> Work) -> Arc<Request>
    where
        Work: Future<Output = Result<Outcome>> + Send + 'static,
    {
        let request = Arc::new(Request::default());
        let Some(here) = self.threads.here() else {
            request.end(Err(Error::new(Kind::Invalid, "opened before a fork")));
            return request;
        };
        let (bucket, limits) = (Arc::clone(&self.bucket), Arc::clone(&here.limits));
        let work = work(Means { bucket, limits, timeout: self.timeout });
        let ending = Ending(Arc::clone(&request));
        let task = here.handle().spawn(async move {
            // Moved into the task, so that it is also dropped when the task is aborted.
            let ending = ending;
            ending.0.end(work.await);
        });
        request.made_by(task.abort_handle());
        request
    }

    /// Start or continue to receive a body. The request ends when there are bytes to take, or at the end of the body.
    ///
    /// `tag` is the object's entity tag. The request fails with `Precondition` if the object has another one by now.
    pub fn receive(&self, body: &Body, tag: Option<String>) -> Arc<Request> {
        let request = Arc::new(Request::default());
        let Some(here) = self.threads.here() else {
            request.end(Err(Error::new(Kind::Invalid, "opened before a fork")));
            return request;
        };
        let shared = body.shared();
        if shared.wait(&request) {
            let (bucket, limits, seconds) = (Arc::clone(&self.bucket), Arc::clone(&here.limits), self.timeout);
            let receiving = Arc::clone(&shared);
            let task = here.handle().spawn(async move { receiving.receive(&bucket, &limits, tag, seconds).await });
            shared.received_by(task.abort_handle());
        }
        request
    }
}

impl Means {
    async fn make(self, operation: Operation) -> Result<Outcome> {
        let bytes = operation.bytes();
        let seconds = self.timeout + bytes as u64 / SLOWEST;
        within(&self.limits, bytes, seconds, perform(&self.bucket, operation)).await
    }

    async fn make_all(self, operations: Vec<Operation>) -> Result<Outcome> {
        let mut outcomes: Vec<_> = operations.iter().map(|_| Err(Error::unended())).collect();
        // CANCEL: a drop of the set aborts its tasks.
        let mut tasks = JoinSet::new();
        for (index, operation) in operations.into_iter().enumerate() {
            let work = self.clone().make(operation);
            tasks.spawn(async move { (index, work.await) });
        }
        while let Some(ended) = tasks.join_next().await {
            // A task that has panicked keeps its first outcome, which is a failure.
            if let Ok((index, outcome)) = ended
                && let Some(place) = outcomes.get_mut(index)
            {
                *place = outcome;
            }
        }
        Ok(Outcome::All(outcomes))
    }
}

/// Wait for a place and for memory, and then at most `seconds` for the outcome.
async fn within(
    limits: &Limits,
    bytes: usize,
    seconds: u64,
    work: impl Future<Output = Result<Outcome>>,
) -> Result<Outcome> {
    let (Ok(_bytes), Ok(_place)) =
        (limits.bytes.acquire_many(Limits::units(bytes)).await, limits.requests.acquire().await)
    else {
        return Err(Error::late(seconds));
    };
    tokio::time::timeout(Duration::from_secs(seconds), work).await.unwrap_or_else(|_| Err(Error::late(seconds)))
}

fn bucket(settings: &Settings) -> Result<Bucket> {
    let retry = RetryConfig {
        backoff: BackoffConfig { max_backoff: LONGEST_PAUSE, ..BackoffConfig::default() },
        max_retries: settings.retries,
        retry_timeout: Duration::from_secs(settings.timeout),
    };
    // A request may take long as long as bytes arrive. `within` limits the whole.
    let mut options = ClientOptions::new()
        .with_timeout_disabled()
        .with_read_timeout(Duration::from_secs(settings.timeout))
        .with_connect_timeout(Duration::from_secs(settings.timeout.min(10)))
        .with_http1_only();
    let mut builder = AmazonS3Builder::from_env();
    builder = builder.with_client_options(options.clone());
    for (name, value) in &settings.options {
        let key: AmazonS3ConfigKey = name.parse()?;
        if let AmazonS3ConfigKey::Client(key) = &key {
            options = options.with_config(*key, value);
        }
        builder = builder.with_config(key, value);
    }
    let builder = builder
        .with_retry(retry)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_checksum_algorithm(Checksum::SHA256)
        // Remove one object by one request, because not every server can remove many at once.
        .with_disable_bulk_delete(true)
        .with_disable_tagging(true);
    Bucket::new(builder, options, settings.retries)
}

async fn perform(bucket: &Bucket, operation: Operation) -> Result<Outcome> {
    let store = &bucket.store;
    Ok(match operation {
        Operation::Put { key, data, create, mark } => {
            let mode = if create { PutMode::Create } else { PutMode::Overwrite };
            let attributes = if mark { marked() } else { Attributes::default() };
            let options = PutOptions { mode, attributes, ..PutOptions::default() };
            let put = store.put_opts(&path(&key)?, PutPayload::from(data), options).await?;
            Outcome::Text(put.e_tag.unwrap_or_default())
        }
        Operation::Get { key, range, tag } => {
            let options = GetOptions { range: range.map(GetRange::Bounded), if_match: tag, ..GetOptions::default() };
            let got = store.get_opts(&path(&key)?, options).await?;
            let meta = looked_at(&got);
            Outcome::Object(meta, got.bytes().await?)
        }
        Operation::Head { key } => {
            let options = GetOptions { head: true, ..GetOptions::default() };
            Outcome::Meta(looked_at(&store.get_opts(&path(&key)?, options).await?))
        }
        Operation::Delete { key } => {
            match store.delete(&path(&key)?).await {
                Err(object_store::Error::NotFound { .. }) | Ok(()) => {}
                Err(error) => return Err(error.into()),
            }
            Outcome::Done
        }
        Operation::SignRemovals { keys, seconds } => Outcome::Texts(bucket.sign_removals(&keys, seconds).await?),
        Operation::Remove { url } => bucket.remove(&url).await.map(|()| Outcome::Done)?,
        Operation::List { prefix, after, limit } => {
            let options =
                PaginatedListOptions { offset: after, max_keys: Some(limit), ..PaginatedListOptions::default() };
            let page = store.list_paginated(Some(&prefix), options).await?;
            Outcome::Page(Page {
                objects: page.result.objects.into_iter().map(meta).collect(),
                more: page.page_token.is_some(),
            })
        }
        Operation::Copy { from, to } => {
            store.copy(&path(&from)?, &path(&to)?).await?;
            Outcome::Done
        }
        Operation::Begin { key } => {
            let options = PutMultipartOptions { attributes: marked(), ..PutMultipartOptions::default() };
            Outcome::Text(store.create_multipart_opts(&path(&key)?, options).await?)
        }
        Operation::Part { key, upload, number, data } => {
            let data = PutPayload::from(read(data).await?);
            Outcome::Text(store.put_part(&path(&key)?, &upload, number, data).await?.content_id)
        }
        Operation::Complete { key, upload, parts } => {
            let parts = parts.into_iter().map(|content_id| PartId { content_id }).collect();
            let put = store.complete_multipart(&path(&key)?, &upload, parts).await?;
            Outcome::Text(put.e_tag.unwrap_or_default())
        }
        Operation::Abort { key, upload } => {
            match store.abort_multipart(&path(&key)?, &upload).await {
                Err(object_store::Error::NotFound { .. }) | Ok(()) => {}
                Err(error) => return Err(error.into()),
            }
            Outcome::Done
        }
        Operation::Uploads { prefix, after, limit } => Outcome::Uploads(bucket.uploads(&prefix, after, limit).await?),
        Operation::Server => Outcome::Server(bucket.server().await?),
    })
}

#[allow(
    clippy::disallowed_methods,
    reason = "the file of an ingest that is open: the core has made every call on its store"
)]
async fn read(data: Payload) -> Result<Bytes> {
    let (path, offset, size) = match data {
        Payload::Bytes(bytes) => return Ok(bytes),
        Payload::File { path, offset, size } => (path, offset, size),
    };
    let reading = tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; size];
        File::open(&path)?.read_exact_at(&mut buffer, offset)?;
        Ok::<_, std::io::Error>(Bytes::from(buffer))
    });
    let read = reading.await.map_err(|_| Error::new(Kind::Cancelled, "the read was cancelled"))?;
    read.map_err(|error| Error::new(Kind::File(error.raw_os_error().unwrap_or(5)), error.to_string()))
}

/// The metadata of a marked object. Objects of other programs lack it.
fn marked() -> Attributes {
    Attributes::from_iter([(Attribute::Metadata(MARK.into()), AttributeValue::from("1"))])
}

/// The facts of an object that was looked at or read.
fn looked_at(got: &GetResult) -> Meta {
    let is_ours = got.attributes.get(&Attribute::Metadata(MARK.into())).is_some();
    Meta { is_ours, ..meta(got.meta.clone()) }
}

fn meta(meta: ObjectMeta) -> Meta {
    Meta {
        key: meta.location.to_string(),
        size: meta.size,
        tag: meta.e_tag,
        modified_ns: meta.last_modified.timestamp_nanos_opt().unwrap_or_default(),
        is_ours: false,
    }
}
