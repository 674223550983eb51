//! Writing one object under a key that must be free: in one request, or in parts when it is large.
//!
//! Each write carries a token of its own in the object's metadata. When an answer got lost and the write is tried again, the
//! server says that there is an object already; the token then tells our own object from somebody else's.

use std::time::Duration;

use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ServerSideEncryption,
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    Created, Key, StoreError,
    s3::{
        REQUEST_TIME_MAX, S3, TRANSFER_TIME_MAX,
        address::Encryption,
        failure::{Failure, Kind},
    },
};

/// Objects above this go in parts.
pub(crate) const WHOLE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// One part, but for the last; S3 takes at least 5 MiB and 10,000 parts.
pub(crate) const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts of one object on their way at the same time.
const PARTS_MAX: usize = 4;
/// Joining the parts of an object may take a server longer than another request.
const JOIN_TIME_MAX: Duration = Duration::from_secs(120);
/// Where the token is kept.
const TOKEN: &str = "cutline-write";

impl S3 {
    /// Creates the object unless there is one.
    pub(crate) async fn create(&self, key: &Key, bytes: Bytes) -> Result<Created, StoreError> {
        let full = self.address.full_key(key.as_str());
        let token = uuid::Uuid::new_v4().simple().to_string();
        let written = if bytes.len() > WHOLE_BYTES_MAX {
            self.put_in_parts(&full, &token, &bytes).await
        } else {
            self.put_whole(&full, &token, &bytes).await
        };
        let judged = match written {
            Ok(()) => return Ok(Created::Created),
            Err(failure) if failure.kind == Kind::Exists => self.whose(&full, &token).await,
            Err(failure) => Err(failure),
        };
        judged.map_err(|failure| failure.into_error(self, "create", key.as_str()))
    }

    async fn put_whole(&self, full: &str, token: &str, bytes: &Bytes) -> Result<(), Failure> {
        let (sse, kms_key) = &self.encryption();
        self.retry
            .run("PutObject", TRANSFER_TIME_MAX, || async move {
                self.client
                    .put_object()
                    .bucket(&self.address.bucket)
                    .key(full)
                    .if_none_match("*")
                    .checksum_algorithm(ChecksumAlgorithm::Crc32C)
                    .set_server_side_encryption(sse.clone())
                    .set_ssekms_key_id(kms_key.clone())
                    .metadata(TOKEN, token)
                    .body(bytes.clone().into())
                    .send()
                    .await?;
                Ok(())
            })
            .await
    }

    async fn put_in_parts(&self, full: &str, token: &str, bytes: &Bytes) -> Result<(), Failure> {
        let upload = self.begin_upload(full, token).await?;
        let written = async {
            let parts = self.put_parts(full, &upload, bytes).await?;
            self.join_parts(full, &upload, parts).await
        };
        let written = written.await;
        if written.is_err() {
            // What is left behind otherwise costs room until garbage collection finds it.
            let aborted = self.abort(full, &upload).await;
            if let Err(Failure { detail, .. }) = aborted {
                tracing::warn!(
                    key = full,
                    detail,
                    "an upload that was given up is left behind"
                );
            }
        }
        match written {
            // The join whose answer was lost has ended the upload; the object tells whose it is.
            Err(failure) if failure.kind == Kind::Absent => Err(Failure {
                kind: Kind::Exists,
                ..failure
            }),
            written => written,
        }
    }

    async fn begin_upload(&self, full: &str, token: &str) -> Result<String, Failure> {
        let (sse, kms_key) = &self.encryption();
        let begun = self
            .retry
            .run("CreateMultipartUpload", REQUEST_TIME_MAX, || async move {
                let begin = self.client.create_multipart_upload();
                let begun = begin
                    .bucket(&self.address.bucket)
                    .key(full)
                    .checksum_algorithm(ChecksumAlgorithm::Crc32C)
                    .set_server_side_encryption(sse.clone())
                    .set_ssekms_key_id(kms_key.clone())
                    .metadata(TOKEN, token)
                    .send()
                    .await?;
                Ok(begun.upload_id)
            });
        begun
            .await?
            .ok_or_else(|| Failure::refused("the server began an upload without an id"))
    }

    async fn put_parts(
        &self,
        full: &str,
        upload: &str,
        bytes: &Bytes,
    ) -> Result<Vec<CompletedPart>, Failure> {
        let parts = (1_i32..).zip((0..bytes.len()).step_by(PART_BYTES));
        stream::iter(parts)
            .map(|(number, start)| {
                let part = bytes.slice(start..bytes.len().min(start + PART_BYTES));
                self.put_part(full, upload, number, part)
            })
            .buffered(PARTS_MAX)
            .try_collect()
            .await
    }

    async fn put_part(
        &self,
        full: &str,
        upload: &str,
        number: i32,
        part: Bytes,
    ) -> Result<CompletedPart, Failure> {
        let part = &part;
        self.retry
            .run("UploadPart", TRANSFER_TIME_MAX, || async move {
                let put = self.client.upload_part();
                let put = put
                    .bucket(&self.address.bucket)
                    .key(full)
                    .upload_id(upload)
                    .part_number(number)
                    .checksum_algorithm(ChecksumAlgorithm::Crc32C)
                    .body(part.clone().into())
                    .send()
                    .await?;
                Ok(CompletedPart::builder()
                    .part_number(number)
                    .set_e_tag(put.e_tag)
                    .set_checksum_crc32_c(put.checksum_crc32_c)
                    .build())
            })
            .await
    }

    async fn join_parts(
        &self,
        full: &str,
        upload: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<(), Failure> {
        let parts = CompletedMultipartUpload::builder()
            .set_parts(Some(parts))
            .build();
        let parts = &parts;
        self.retry
            .run("CompleteMultipartUpload", JOIN_TIME_MAX, || async move {
                let join = self.client.complete_multipart_upload();
                join.bucket(&self.address.bucket)
                    .key(full)
                    .upload_id(upload)
                    .if_none_match("*")
                    .multipart_upload(parts.clone())
                    .send()
                    .await?;
                Ok(())
            })
            .await
    }

    pub(crate) async fn abort(&self, full: &str, upload: &str) -> Result<(), Failure> {
        let aborted = self
            .retry
            .run("AbortMultipartUpload", REQUEST_TIME_MAX, || async move {
                let abort = self.client.abort_multipart_upload();
                abort
                    .bucket(&self.address.bucket)
                    .key(full)
                    .upload_id(upload)
                    .send()
                    .await?;
                Ok(())
            });
        match aborted.await {
            Err(failure) if failure.kind != Kind::Absent => Err(failure),
            _ => Ok(()),
        }
    }

    /// Whose object it is that stood in the way of a create.
    async fn whose(&self, full: &str, token: &str) -> Result<Created, Failure> {
        let head = self
            .retry
            .run("HeadObject", REQUEST_TIME_MAX, || async move {
                let head = self.client.head_object();
                let found = head.bucket(&self.address.bucket).key(full).send().await?;
                Ok(found.metadata)
            });
        match head.await {
            Ok(metadata) => {
                let found = metadata.as_ref().and_then(|metadata| metadata.get(TOKEN));
                Ok(match found.is_some_and(|found| found == token) {
                    true => Created::Created,
                    false => Created::AlreadyExists,
                })
            }
            // It was there and has been deleted since; ours it was not, for nobody else knows of ours yet.
            Err(failure) if failure.kind == Kind::Absent => Ok(Created::AlreadyExists),
            Err(failure) => Err(failure),
        }
    }

    fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        match &self.address.encryption {
            None => (None, None),
            Some(Encryption::ServerKeys) => (Some(ServerSideEncryption::Aes256), None),
            Some(Encryption::Kms { key }) => (Some(ServerSideEncryption::AwsKms), key.clone()),
        }
    }
}
