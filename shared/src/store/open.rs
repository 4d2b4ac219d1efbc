//! Opening a store by its URL.

use super::{BlobStore, StoreError, seal::SealKey};
use object_store::path::Path;
use std::{path::PathBuf, sync::Arc};
use url::Url;

impl BlobStore {
    /// Opens a store at `file:///path`, a plain path, `memory://`, `s3://bucket/prefix`, `gs://…` or `az://…`.
    /// Credentials for cloud stores come from their usual environment variables (`AWS_*`, `GOOGLE_*`, `AZURE_*`).
    ///
    /// A local folder is created if it does not exist. Whether the store is usable is not checked: see
    /// [`BlobStore::check`].
    pub fn open(url: &str, key: SealKey) -> Result<Self, StoreError> {
        let wrong = |why: String| StoreError::Url { url: url.to_owned(), why };
        if !url.contains("://") {
            if url.is_empty() {
                return Err(wrong("empty".into()));
            }
            return Self::open_folder(url, url.into(), key);
        }
        let parsed = Url::parse(url).map_err(|e| wrong(e.to_string()))?;
        match parsed.scheme() {
            "file" => {
                let path = parsed.to_file_path().map_err(|()| wrong("file URLs need an absolute path".into()))?;
                Self::open_folder(url, path, key)
            }
            "memory" => Ok(Self::over(Arc::new(object_store::memory::InMemory::new()), Path::default(), url, key)),
            "s3" | "gs" | "az" => open_cloud(url, &parsed, key),
            other => Err(wrong(format!("unknown scheme {other:?}; known: file, memory, s3, gs, az"))),
        }
    }

    /// Opens a store that several processes share. `memory://` is refused, because it is local to one process.
    pub fn open_shared(url: &str, key: SealKey) -> Result<Self, StoreError> {
        if url.starts_with("memory:") {
            let why = "it is local to one process, but the processes of a fleet must share their store".into();
            return Err(StoreError::Url { url: url.to_owned(), why });
        }
        Self::open(url, key)
    }

    fn open_folder(url: &str, path: PathBuf, key: SealKey) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Failed {
            url: url.to_owned(),
            action: "open",
            key: "its folder".into(),
            source: Box::new(source),
        };
        std::fs::create_dir_all(&path)
            .map_err(|e| failed(object_store::Error::Generic { store: "folder", source: Box::new(e) }))?;
        let local = object_store::local::LocalFileSystem::new_with_prefix(&path)
            .map_err(failed)?
            // A rename without fsync may leave an empty artifact after a power failure.
            .with_fsync(true);
        Ok(Self::over(Arc::new(local), Path::default(), url, key))
    }
}

#[cfg(not(feature = "cloud-client"))]
fn open_cloud(url: &str, parsed: &Url, _: SealKey) -> Result<BlobStore, StoreError> {
    let why = format!("built without support for {}://; build with the cargo feature `cloud`", parsed.scheme());
    Err(StoreError::Url { url: url.to_owned(), why })
}

#[cfg(feature = "cloud-client")]
fn open_cloud(url: &str, parsed: &Url, key: SealKey) -> Result<BlobStore, StoreError> {
    let wrong = |why: String| StoreError::Url { url: url.to_owned(), why };
    let bucket = parsed.host_str().filter(|b| !b.is_empty()).ok_or_else(|| wrong("names no bucket".into()))?;
    let prefix = Path::parse(parsed.path().trim_matches('/')).map_err(|e| wrong(e.to_string()))?;
    crate::tls::select_implementation();
    let inner: Arc<dyn object_store::ObjectStore> = match parsed.scheme() {
        #[cfg(feature = "s3")]
        "s3" => Arc::new(
            object_store::aws::AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .build()
                .map_err(|e| wrong(e.to_string()))?,
        ),
        #[cfg(feature = "gs")]
        "gs" => Arc::new(
            object_store::gcp::GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(bucket)
                .build()
                .map_err(|e| wrong(e.to_string()))?,
        ),
        #[cfg(feature = "az")]
        "az" => Arc::new(
            object_store::azure::MicrosoftAzureBuilder::from_env()
                .with_container_name(bucket)
                .build()
                .map_err(|e| wrong(e.to_string()))?,
        ),
        other => return Err(wrong(format!("built without support for {other}://"))),
    };
    Ok(BlobStore::over(inner, prefix, url, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_urls_are_refused() {
        for (url, word) in
            [("ftp://x", "unknown scheme"), ("file://relative/x", "absolute"), ("", "empty"), ("/dev/null/x", "folder")]
        {
            let error = BlobStore::open(url, SealKey::unkeyed()).unwrap_err().to_string();
            assert!(error.contains(word), "{url}: {error}");
        }
        let error = BlobStore::open_shared("memory://", SealKey::unkeyed()).unwrap_err().to_string();
        assert!(error.contains("local to one process"), "{error}");
    }
}
