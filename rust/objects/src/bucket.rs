//! Requests that `object_store` has no calls for. It signs them, and this module sends them.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;
use std::time::Duration;

use chrono::DateTime;
use object_store::ClientOptions;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsAuthorizer};
use object_store::client::{HttpClient, HttpConnector as _, HttpRequest, HttpRequestBody, ReqwestConnector};
use object_store::path::Path;
use object_store::signer::{HeaderMap, Method, Signer as _, Url};

use crate::error::{Error, Kind, Result};
use crate::operation::{Server, UploadMarker, UploadPage};
use crate::uploads;

/// The pause after the first attempt; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between two attempts.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The default region, the same as that of `object_store`.
const REGION: &str = "us-east-1";

/// A bucket at its server.
pub(crate) struct Bucket {
    /// Its objects.
    pub(crate) store: AmazonS3,
    options: ClientOptions,
    /// Created at the first request, because few programs make one.
    http: OnceLock<HttpClient>,
    region: String,
    signs: bool,
    retries: usize,
}

/// The parts of an answer that are used.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Bucket {
    /// The bucket of a builder. `options` are the builder's settings for connections.
    pub(crate) fn new(mut builder: AmazonS3Builder, options: ClientOptions, retries: usize) -> Result<Self> {
        let value = |key: AmazonS3ConfigKey| builder.get_config_value(&key);
        let signs = value(AmazonS3ConfigKey::SkipSignature).is_none_or(|skips| skips != "true");
        let region = value(AmazonS3ConfigKey::Region).unwrap_or_else(|| REGION.to_owned());
        if !signs && value(AmazonS3ConfigKey::AccessKeyId).is_none() {
            // `url` needs credentials even if requests are not signed.
            builder = builder.with_access_key_id("none").with_secret_access_key("none");
        }
        Ok(Self { store: builder.build()?, options, http: OnceLock::new(), region, signs, retries })
    }

    /// How often a request is tried again.
    pub(crate) fn retries(&self) -> usize {
        self.retries
    }

    /// List uploads; see `Operation::Uploads`.
    pub(crate) async fn uploads(&self, prefix: &str, after: Option<UploadMarker>, limit: usize) -> Result<UploadPage> {
        let mut query =
            vec![("uploads", String::new()), ("max-uploads", limit.to_string()), ("prefix", prefix.to_owned())];
        query.extend(after.map(|after| match after {
            UploadMarker::Key(key) => ("key-marker", key),
            UploadMarker::Id(id) => ("upload-id-marker", id),
        }));
        let answer = self.ask(Method::GET, &query).await?;
        if answer.status == 200 { uploads::parse(&answer.body) } else { Err(answer.error()) }
    }

    /// The server's name and time. Any answer has them, even a refusal.
    pub(crate) async fn server(&self) -> Result<Server> {
        let answer = self.ask(Method::HEAD, &[]).await?;
        let text = |name: &str| Some(answer.headers.get(name)?.to_str().ok()?.to_owned());
        let now = text("date").and_then(|date| DateTime::parse_from_rfc2822(&date).ok());
        Ok(Server { name: text("server"), now_ns: now.and_then(|now| now.timestamp_nanos_opt()) })
    }

    /// Sign removals; see `Operation::SignRemovals`.
    pub(crate) async fn sign_removals(&self, keys: &[String], seconds: u64) -> Result<Vec<String>> {
        let paths = keys.iter().map(|key| path(key)).collect::<Result<Vec<_>>>()?;
        let signed = self.store.signed_urls(Method::DELETE, &paths, Duration::from_secs(seconds)).await?;
        Ok(signed.into_iter().map(Into::into).collect())
    }

    /// Remove an object by a signed removal; see `Operation::Remove`.
    pub(crate) async fn remove(&self, signed: &str) -> Result<()> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = Method::DELETE;
        // The query has the signature, so no message may repeat the URL.
        let invalid = |_| Error::new(Kind::Invalid, "a signed removal: not a URL");
        *request.uri_mut() = signed.parse().map_err(invalid)?;
        let unanswered = |_| Error::new(Kind::Unreachable, "a signed removal: the server did not answer");
        let answer = self.http()?.execute(request).await.map_err(unanswered)?;
        let (parts, body) = answer.into_parts();
        let body = body.bytes().await.map_err(unanswered)?;
        match parts.status.as_u16() {
            200..300 | 404 => Ok(()),
            status => Err(Error::of_answer(status, &String::from_utf8_lossy(&body))),
        }
    }

    /// Send a request for the bucket. Send it again if the server does not answer or reports an internal error.
    async fn ask(&self, method: Method, query: &[(&str, String)]) -> Result<Answer> {
        let mut pause = FIRST_PAUSE;
        for _ in 0..self.retries {
            match self.ask_once(method.clone(), query).await {
                Err(Error { kind: Kind::Unreachable, .. }) => {}
                Ok(answer) if answer.error().kind == Kind::Unreachable => {}
                ended => return ended,
            }
            // Half of the pause is random, so that many clients that were refused together do not return together.
            let share = f64::from(u32::MAX >> 1).recip() * f64::from(chance() >> 1);
            tokio::time::sleep(pause.div_f64(2.0) + pause.div_f64(2.0).mul_f64(share)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.ask_once(method, query).await
    }

    async fn ask_once(&self, method: Method, query: &[(&str, String)]) -> Result<Answer> {
        let mut url = self.url().await?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = method;
        *request.uri_mut() =
            url.as_str().parse().map_err(|error| Error::new(Kind::Invalid, format!("{url}: {error}")))?;
        if self.signs {
            let credential = self.store.credentials().get_credential().await?;
            // The signature is in the headers, because texts of errors repeat the URL.
            AwsAuthorizer::new(&credential, "s3", &self.region).try_authorize(&mut request, None)?;
        }
        let answer = self.http()?.execute(request).await.map_err(|error| Error::of_transport(&error))?;
        let (parts, body) = answer.into_parts();
        let body = body.bytes().await.map_err(|error| Error::of_transport(&error))?;
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    /// The URL of the bucket. It follows from five settings, so only `object_store` knows it.
    async fn url(&self) -> Result<Url> {
        let mut url = self.store.signed_url(Method::GET, &Path::default(), Duration::from_secs(1)).await?;
        url.set_query(None);
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(url)
    }

    fn http(&self) -> Result<&HttpClient> {
        if let Some(http) = self.http.get() {
            return Ok(http);
        }
        let made = ReqwestConnector::default().connect(&self.options)?;
        Ok(self.http.get_or_init(|| made))
    }
}

impl Answer {
    fn error(&self) -> Error {
        Error::of_answer(self.status, &self.body)
    }
}

/// The path of a key.
pub(crate) fn path(key: &str) -> Result<Path> {
    Path::parse(key).map_err(|error| Error::new(Kind::Invalid, error.to_string()))
}

/// A random number. A generator of random numbers would be a further dependency.
#[allow(clippy::cast_possible_truncation, reason = "the lower half is as random")]
fn chance() -> u32 {
    RandomState::new().hash_one(0) as u32
}
