//! The address of a store as given on a command line or in a configuration.
//!
//! An address is never guessed: what is not a known scheme is an error, so that a mistyped `s3:/bucket` can never become
//! a local directory.

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc};

use crate::{Directory, Objects, S3, S3Address, StoreError, crashing::Crashing};

/// Where checkpoints are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSpec {
    /// A directory, made when it does not exist.
    File(PathBuf),
    /// A bucket, or a prefix in one.
    S3(S3Address),
}

impl StoreSpec {
    /// Opens the backend. Nothing is written yet; [`crate::Repository::open`] probes it.
    ///
    /// # Errors
    /// When the directory cannot be made or read, or S3 has no credentials or region.
    pub async fn open(&self) -> Result<Arc<dyn Objects>, StoreError> {
        let objects: Arc<dyn Objects> = match self {
            Self::File(path) => Arc::new(Directory::open(path).await?),
            Self::S3(address) => Arc::new(S3::open(address).await?),
        };
        Ok(Crashing::over(objects))
    }
}

impl FromStr for StoreSpec {
    type Err = StoreError;

    fn from_str(spec: &str) -> Result<Self, StoreError> {
        let bad = |reason: &str| StoreError::BadSpec {
            spec: spec.to_owned(),
            reason: reason.to_owned(),
        };
        let Some((scheme, rest)) = spec.split_once(':') else {
            return Err(bad("it names no scheme"));
        };
        match scheme {
            "file" => parse_path(rest).map(Self::File).map_err(bad),
            "s3" => match rest.strip_prefix("//") {
                Some(place) => place
                    .parse()
                    .map(Self::S3)
                    .map_err(|reason: String| bad(&reason)),
                None => Err(bad("an S3 address is s3://BUCKET/PREFIX")),
            },
            _ => Err(bad(&format!("the scheme {scheme:?} is not known"))),
        }
    }
}

impl fmt::Display for StoreSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Two slashes after the colon would name a host.
            Self::File(path) if path.as_os_str().as_encoded_bytes().starts_with(b"//") => {
                write!(f, "file://{}", path.display())
            }
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::S3(address) => address.fmt(f),
        }
    }
}

fn parse_path(rest: &str) -> Result<PathBuf, &'static str> {
    let path = match rest.strip_prefix("//") {
        // file:///var/lib is the URL form of an absolute path; file://host/path names another machine.
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => return Err("file:// takes no host; write file:PATH or file:///PATH"),
        None => rest,
    };
    match path {
        "" => Err("the path is empty"),
        path if path.contains('\0') => Err("the path holds a NUL"),
        path => Ok(PathBuf::from(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_named_by_its_scheme() {
        for (spec, path) in [
            ("file:/var/lib/cutline", "/var/lib/cutline"),
            ("file:relative/x", "relative/x"),
            ("file:///var/lib", "/var/lib"),
            ("file:////var/lib", "//var/lib"),
        ] {
            let read: StoreSpec = spec.parse().unwrap();
            assert_eq!(read, StoreSpec::File(path.into()));
            assert_eq!(read.to_string().parse::<StoreSpec>().unwrap(), read);
        }
    }

    #[test]
    fn an_s3_address_is_recognised_and_never_becomes_a_path() {
        let spec: StoreSpec = "s3://bucket/prefix?region=x".parse().unwrap();
        assert_eq!(spec.to_string(), "s3://bucket/prefix?region=x");
        for spec in ["s3:bucket", "s3:/bucket", "s3://", "S3://bucket/x"] {
            assert_eq!(
                spec.parse::<StoreSpec>().unwrap_err().code(),
                "CL0100",
                "{spec}"
            );
        }
    }

    #[test]
    fn anything_else_is_an_error_that_says_what_to_write() {
        for spec in [
            "",
            "/var/lib",
            "relative",
            "file:",
            "file://",
            "file://host/path",
            "gs://x",
            "C:\\x",
            "file:a\0b",
        ] {
            let error = spec.parse::<StoreSpec>().unwrap_err();
            assert_eq!(error.code(), "CL0100", "{spec}");
            assert!(error.to_string().contains("use file:PATH"), "{error}");
        }
    }
}
