//! Opening a store by its URL.

#[cfg(feature = "cloud-client")]
use super::blobs::Bucket;
use super::{ArtifactKeys, BlobStore, StoreError};
use object_store::path::Path;
use std::{path::PathBuf, sync::Arc};
use url::Url;

impl BlobStore {
    /// Opens a store at `file:///path`, a plain path, `memory://`, `s3://bucket/prefix`, `gs://…` or `az://…`.
    /// Credentials for cloud stores come from their usual environment variables (`AWS_*`, `GOOGLE_*`, `AZURE_*`).
    ///
    /// A local folder is created if it does not exist. Whether the store is usable is not checked: see
    /// [`BlobStore::check`].
    pub fn open(url: &str, keys: ArtifactKeys) -> Result<Self, StoreError> {
        let wrong = |why: String| StoreError::Url { url: url.to_owned(), why };
        if !url.contains("://") {
            if url.is_empty() {
                return Err(wrong("empty".into()));
            }
            return Self::open_folder(url, url.into(), keys);
        }
        let parsed = Url::parse(url).map_err(|e| wrong(e.to_string()))?;
        match parsed.scheme() {
            "file" => {
                let path = parsed.to_file_path().map_err(|()| wrong("file URLs need an absolute path".into()))?;
                Self::open_folder(url, path, keys)
            }
            "memory" => Ok(Self::over(Arc::new(object_store::memory::InMemory::new()), Path::default(), url, keys)),
            "s3" | "gs" | "az" => open_cloud(url, &parsed, keys),
            other => Err(wrong(format!("unknown scheme {other:?}; known: file, memory, s3, gs, az"))),
        }
    }

    /// The folder of a store, if it is one on this machine.
    pub fn folder_of(url: &str) -> Option<PathBuf> {
        match url.contains("://") {
            true => Url::parse(url).ok().filter(|url| url.scheme() == "file")?.to_file_path().ok(),
            false => (!url.is_empty()).then(|| url.into()),
        }
    }

    /// Opens a store that several processes share. `memory://` is refused, because it is local to one process.
    pub fn open_shared(url: &str, keys: ArtifactKeys) -> Result<Self, StoreError> {
        if url.starts_with("memory:") {
            let why = "it is local to one process, but the processes of a fleet must share their store".into();
            return Err(StoreError::Url { url: url.to_owned(), why });
        }
        Self::open(url, keys)
    }

    fn open_folder(url: &str, path: PathBuf, keys: ArtifactKeys) -> Result<Self, StoreError> {
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
        Ok(Self::over(Arc::new(local), Path::default(), url, keys))
    }
}

#[cfg(not(feature = "cloud-client"))]
fn open_cloud(url: &str, parsed: &Url, _: ArtifactKeys) -> Result<BlobStore, StoreError> {
    let why = format!("built without support for {}://; build with the cargo feature `cloud`", parsed.scheme());
    Err(StoreError::Url { url: url.to_owned(), why })
}

#[cfg(feature = "cloud-client")]
fn open_cloud(url: &str, parsed: &Url, keys: ArtifactKeys) -> Result<BlobStore, StoreError> {
    let wrong = |why: String| StoreError::Url { url: url.to_owned(), why };
    let bucket = parsed.host_str().filter(|b| !b.is_empty()).ok_or_else(|| wrong("names no bucket".into()))?;
    let prefix = Path::parse(parsed.path().trim_matches('/')).map_err(|e| wrong(e.to_string()))?;
    crate::tls::select_implementation();
    let built = |inner: Result<Arc<dyn object_store::ObjectStore>, object_store::Error>, endpoint: Option<String>| {
        let inner = inner.map_err(|e| wrong(e.to_string()))?;
        let endpoint = endpoint.map_or_else(|| default_endpoint(parsed.scheme()).to_owned(), |url| without_user(&url));
        let bucket = Bucket { name: bucket.to_owned(), endpoint };
        Ok(BlobStore::over(inner, prefix, url, keys).in_bucket(bucket))
    };
    match parsed.scheme() {
        #[cfg(feature = "s3")]
        "s3" => {
            use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
            let builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
            let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
            let endpoint = endpoint.iter().find_map(|key| builder.get_config_value(key));
            built(builder.build().map(|store| Arc::new(store) as _), endpoint)
        }
        #[cfg(feature = "gs")]
        "gs" => {
            use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
            let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
            let endpoint = builder.get_config_value(&GoogleConfigKey::BaseUrl);
            built(builder.build().map(|store| Arc::new(store) as _), endpoint)
        }
        #[cfg(feature = "az")]
        "az" => {
            use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
            let builder = MicrosoftAzureBuilder::from_env().with_container_name(bucket);
            let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
            built(builder.build().map(|store| Arc::new(store) as _), endpoint)
        }
        other => Err(wrong(format!("built without support for {other}://"))),
    }
}

/// The provider that is asked if no endpoint is set, for messages.
#[cfg(feature = "cloud-client")]
fn default_endpoint(scheme: &str) -> &'static str {
    match scheme {
        "s3" => "Amazon S3 (AWS_ENDPOINT is not set)",
        "gs" => "Google Cloud Storage",
        _ => "Azure",
    }
}

/// The URL without a user and password, for messages.
#[cfg(feature = "cloud-client")]
fn without_user(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return "its endpoint".into() };
    // It fails for URLs that cannot have them.
    let _ = (parsed.set_username(""), parsed.set_password(None));
    parsed.to_string().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_some_stores_are_folders() {
        for (url, folder) in [("/a/b", Some("/a/b")), ("file:///a%20b", Some("/a b")), ("rel", Some("rel"))] {
            assert_eq!(BlobStore::folder_of(url), folder.map(PathBuf::from), "{url}");
        }
        assert!(
            ["memory://", "s3://bucket/a", "", "file://host/a"].iter().all(|url| BlobStore::folder_of(url).is_none())
        );
    }

    #[test]
    fn invalid_urls_are_refused() {
        for (url, word) in
            [("ftp://x", "unknown scheme"), ("file://relative/x", "absolute"), ("", "empty"), ("/dev/null/x", "folder")]
        {
            let error = BlobStore::open(url, ArtifactKeys::unsigned()).unwrap_err().to_string();
            assert!(error.contains(word), "{url}: {error}");
        }
        let error = BlobStore::open_shared("memory://", ArtifactKeys::unsigned()).unwrap_err().to_string();
        assert!(error.contains("local to one process"), "{error}");
    }
}
