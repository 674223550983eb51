//! S3 as a store: conditional creates, bounded requests, lists page by page.
//!
//! It promises what [`Objects`] asks for on a server that honours `If-None-Match: *`, which opening a repository probes. Every
//! request has a time limit and is tried again within a budget. It refuses to know what the objects are.

mod address;
mod connect;
mod failure;
mod retry;
mod upload;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_s3::{Client, config::Credentials, primitives::ByteStream};
use bytes::{Bytes, BytesMut};

pub use address::{Encryption, S3Address};

use crate::{
    Created, Key, ObjectMeta, Objects, StoreError,
    s3::{
        failure::{Failure, Kind},
        retry::Retry,
    },
};

/// How long a request without a large body may take.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(15);
/// How long a request with a body of several MiB may take.
const TRANSFER_TIME_MAX: Duration = Duration::from_secs(60);
/// Creates race each other this often when the store is probed: a server that looks first and writes then lets one win now
/// and then. One that is known was caught in four races of five.
const PROBE_ROUNDS: u32 = 8;
/// No server keeps a larger object, and some take a larger range for none at all.
const OBJECT_BYTES_MAX: u64 = 1 << 46;
/// Memory taken at once for an object whose size only the server tells.
const RESERVE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Objects in a bucket, below a prefix.
#[derive(Debug)]
pub struct S3 {
    address: S3Address,
    name: String,
    client: Client,
    retry: Retry,
}

impl S3 {
    /// Finds credentials and region; nothing is asked of the server yet.
    ///
    /// # Errors
    /// [`StoreError::NoCredentials`], or [`StoreError::BadSpec`] when no region is known.
    pub async fn open(address: &S3Address) -> Result<Self, StoreError> {
        Self::open_with(address, None).await
    }

    /// The same with credentials of the caller's instead of the standard chain's.
    ///
    /// # Errors
    /// [`StoreError::BadSpec`] when no region is known.
    pub async fn open_as(
        address: &S3Address,
        access_key: &str,
        secret_key: &str,
    ) -> Result<Self, StoreError> {
        let credentials = Credentials::new(access_key, secret_key, None, None, "given");
        Self::open_with(address, Some(credentials)).await
    }

    async fn open_with(
        address: &S3Address,
        credentials: Option<Credentials>,
    ) -> Result<Self, StoreError> {
        let name = name(address);
        Ok(Self {
            client: connect::client(address, &name, credentials).await?,
            address: address.clone(),
            name,
            retry: Retry::new(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The body of an object or of a range of it; `None` when it has more than `bytes_max`, with its size.
    async fn read(
        &self,
        key: &Key,
        range: Option<String>,
        bytes_max: u64,
    ) -> Result<Result<Bytes, u64>, Failure> {
        let (full, range) = (&self.address.full_key(key.as_str()), &range);
        self.retry
            .run("GetObject", TRANSFER_TIME_MAX, || async move {
                let get = self.client.get_object();
                let answer = get
                    .bucket(&self.address.bucket)
                    .key(full)
                    .set_range(range.clone())
                    .send()
                    .await?;
                if range.is_some() && answer.content_range.is_none() {
                    return Err(Failure::refused("the server does not honour ranges"));
                }
                let told = answer.content_length.unwrap_or_default();
                let told = u64::try_from(told).unwrap_or_default();
                if told > bytes_max {
                    return Ok(Err(told));
                }
                collect(answer.body, told, bytes_max).await
            })
            .await
    }

    /// One page of a list, and where the next one begins.
    async fn page(
        &self,
        prefix: &str,
        token: Option<String>,
    ) -> Result<(Vec<ObjectMeta>, Option<String>), Failure> {
        let token = &token;
        self.retry
            .run("ListObjectsV2", REQUEST_TIME_MAX, || async move {
                let list = self.client.list_objects_v2();
                let page = list
                    .bucket(&self.address.bucket)
                    .prefix(prefix)
                    .set_continuation_token(token.clone())
                    .send()
                    .await?;
                let next = page.next_continuation_token;
                if page.is_truncated == Some(true) && (next.is_none() || next == *token) {
                    return Err(Failure::refused(
                        "the server says there is more and not where",
                    ));
                }
                let found = page.contents.unwrap_or_default();
                let found = found.iter().filter_map(|object| {
                    let key = self.address.own_key(object.key.as_deref()?)?;
                    Some(ObjectMeta {
                        key,
                        bytes: u64::try_from(object.size.unwrap_or_default()).unwrap_or_default(),
                        modified: time(object.last_modified.as_ref()),
                    })
                });
                Ok((
                    found.collect(),
                    next.filter(|_| page.is_truncated == Some(true)),
                ))
            })
            .await
    }

    /// Uploads in parts begun before `before` and never ended, as (full key, id).
    async fn uploads_before(&self, before: SystemTime) -> Result<Vec<(String, String)>, Failure> {
        let prefix = &self.address.full_key("");
        let (mut found, mut markers) = (Vec::new(), (None, None));
        loop {
            let (key_marker, id_marker) = &markers;
            let page = self
                .retry
                .run("ListMultipartUploads", REQUEST_TIME_MAX, || async move {
                    let list = self.client.list_multipart_uploads();
                    let list = list.bucket(&self.address.bucket).prefix(prefix);
                    let list = list.set_key_marker(key_marker.clone());
                    Ok(list.set_upload_id_marker(id_marker.clone()).send().await?)
                })
                .await?;
            for upload in page.uploads.unwrap_or_default() {
                let old = time(upload.initiated.as_ref()) < before;
                let ours = upload
                    .key
                    .as_deref()
                    .and_then(|key| self.address.own_key(key));
                if let (true, Some(_), Some(key), Some(id)) =
                    (old, ours, upload.key, upload.upload_id)
                {
                    found.push((key, id));
                }
            }
            let next = page.next_key_marker.filter(|next| !next.is_empty());
            if page.is_truncated != Some(true) || next.is_none() || next == *key_marker {
                return Ok(found);
            }
            markers = (next, page.next_upload_id_marker);
        }
    }
}

#[async_trait]
impl Objects for S3 {
    fn describe(&self) -> String {
        self.name.clone()
    }

    fn probe_rounds(&self) -> u32 {
        PROBE_ROUNDS
    }

    async fn put_new(&self, key: &Key, bytes: Bytes) -> Result<Created, StoreError> {
        self.create(key, bytes).await
    }

    async fn put_pack(&self, key: &Key, bytes: Bytes) -> Result<(), StoreError> {
        let len = bytes.len() as u64;
        match self.create(key, bytes.clone()).await? {
            Created::Created => Ok(()),
            Created::AlreadyExists
                if self.get(key, len).await.is_ok_and(|found| found == bytes) =>
            {
                Ok(())
            }
            Created::AlreadyExists => Err(StoreError::Damaged {
                key: key.to_string(),
                detail: "it exists with other content than its name says".to_owned(),
            }),
        }
    }

    async fn get(&self, key: &Key, bytes_max: u64) -> Result<Bytes, StoreError> {
        let read = self.read(key, None, bytes_max).await;
        match read.map_err(|failure| failure.into_error(self, "read", key.as_str()))? {
            Ok(bytes) => Ok(bytes),
            Err(found) => Err(StoreError::TooLarge {
                what: format!("object {key}"),
                found,
                limit: bytes_max,
            }),
        }
    }

    async fn get_range(&self, key: &Key, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let truncated = || StoreError::Damaged {
            key: key.to_string(),
            detail: format!(
                "it is truncated: bytes {offset} to {} are needed, it has fewer",
                offset.saturating_add(len)
            ),
        };
        let end = offset
            .checked_add(len)
            .filter(|end| *end <= OBJECT_BYTES_MAX);
        let Some(end) = end else {
            return Err(truncated());
        };
        if len == 0 {
            return match self.head(key).await? {
                Some(meta) if meta.bytes >= offset => Ok(Bytes::new()),
                Some(_) => Err(truncated()),
                None => Err(StoreError::Missing {
                    key: key.to_string(),
                }),
            };
        }
        let read = self
            .read(key, Some(format!("bytes={offset}-{}", end - 1)), len)
            .await;
        match read {
            Ok(Ok(bytes)) if bytes.len() as u64 == len => Ok(bytes),
            Ok(_) => Err(truncated()),
            Err(failure) if failure.kind == Kind::Short => Err(truncated()),
            Err(failure) => Err(failure.into_error(self, "read", key.as_str())),
        }
    }

    async fn head(&self, key: &Key) -> Result<Option<ObjectMeta>, StoreError> {
        let full = &self.address.full_key(key.as_str());
        let head = self
            .retry
            .run("HeadObject", REQUEST_TIME_MAX, || async move {
                let head = self.client.head_object();
                let found = head.bucket(&self.address.bucket).key(full).send().await?;
                Ok(ObjectMeta {
                    key: key.clone(),
                    bytes: u64::try_from(found.content_length.unwrap_or_default())
                        .unwrap_or_default(),
                    modified: time(found.last_modified.as_ref()),
                })
            });
        match head.await {
            Ok(meta) => Ok(Some(meta)),
            Err(failure) if failure.kind == Kind::Absent => Ok(None),
            Err(failure) => Err(failure.into_error(self, "look at", key.as_str())),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let start = prefix.trim_end_matches('/');
        let own = match start {
            "" => String::new(),
            start => format!("{}/", Key::new(start)?),
        };
        let full = self.address.full_key(&own);
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            let page = self.page(&full, token.take()).await;
            let (objects, next) =
                page.map_err(|failure| failure.into_error(self, "list", prefix))?;
            found.extend(objects);
            if next.is_none() {
                found.sort_unstable_by(|a: &ObjectMeta, b| a.key.cmp(&b.key));
                return Ok(found);
            }
            token = next;
        }
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let full = &self.address.full_key(key.as_str());
        let deleted = self
            .retry
            .run("DeleteObject", REQUEST_TIME_MAX, || async move {
                let delete = self.client.delete_object();
                delete.bucket(&self.address.bucket).key(full).send().await?;
                Ok(())
            });
        match deleted.await {
            Err(failure) if failure.kind != Kind::Absent => {
                Err(failure.into_error(self, "delete", key.as_str()))
            }
            _ => Ok(()),
        }
    }

    async fn end_abandoned_writes(&self, age: Duration) -> Result<u64, StoreError> {
        let before = SystemTime::now()
            .checked_sub(age)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let uploads = match self.uploads_before(before).await {
            // Then it offers no uploads in parts that could be left behind.
            Err(failure) if failure.kind == Kind::NotOffered => return Ok(0),
            uploads => {
                uploads.map_err(|failure| failure.into_error(self, "list uploads of", ""))?
            }
        };
        for (full, id) in &uploads {
            let aborted = self.abort(full, id).await;
            aborted.map_err(|failure| failure.into_error(self, "abort the upload of", full))?;
        }
        Ok(uploads.len() as u64)
    }
}

/// Everything of a body, whatever its length was said to be, up to `bytes_max`.
async fn collect(
    mut body: ByteStream,
    told: u64,
    bytes_max: u64,
) -> Result<Result<Bytes, u64>, Failure> {
    let reserve = usize::try_from(told.min(RESERVE_BYTES_MAX)).unwrap_or_default();
    let mut bytes = BytesMut::with_capacity(reserve);
    while let Some(more) = body.next().await {
        let more = more.map_err(|error| Failure::passing(failure::chain(&error)))?;
        bytes.extend_from_slice(&more);
        if bytes.len() as u64 > bytes_max {
            return Ok(Err(bytes.len() as u64));
        }
    }
    Ok(Ok(bytes.freeze()))
}

/// A time nobody tells is now: what it belongs to is then too young for anything.
fn time(told: Option<&aws_sdk_s3::primitives::DateTime>) -> SystemTime {
    told.and_then(|time| SystemTime::try_from(*time).ok())
        .unwrap_or_else(SystemTime::now)
}

fn name(address: &S3Address) -> String {
    let place = match &address.endpoint {
        Some(endpoint) => format!(" at {endpoint}"),
        None => String::new(),
    };
    format!(
        "S3 bucket {}{place}, prefix {:?}",
        address.bucket, address.prefix
    )
}
