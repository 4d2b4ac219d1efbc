//! The object store of a run, and what is done to it.

use super::members::Setting;
use crate::s3;
use futures::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _, RetryConfig, aws::AmazonS3Builder, local::LocalFileSystem};
use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
};

const BUCKET: &str = "pvf-chaos";
/// Size of the file system of a store that is a folder, MiB.
const SIZE_MIB: u32 = 512;

/// Kind of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StoreKind {
    /// A folder.
    Folder,
    /// A server of the S3 protocol.
    S3,
}

/// Tells a command where the store is.
pub fn locate(command: &mut Command, setting: &Setting) {
    match setting.store {
        StoreKind::Folder => {
            command.env("PVF_STORE", folder(setting));
        }
        StoreKind::S3 => {
            command.env("PVF_STORE", format!("s3://{BUCKET}/fleet"));
            s3::locate(command, setting.store_server());
        }
    }
}

fn folder(setting: &Setting) -> PathBuf {
    setting.folder.join("store")
}

/// Handle of the run on its store.
pub struct Store {
    /// Made at first use: the connection to the bus has selected an implementation of TLS by then.
    objects: OnceLock<Arc<dyn ObjectStore>>,
    server: (Ipv4Addr, u16),
    /// The folder, if it is one.
    folder: Option<PathBuf>,
}

impl Store {
    /// Makes the store. A folder is a file system of its own, which can be full.
    ///
    /// # Errors
    /// The file system cannot be mounted.
    pub fn new(setting: &Setting) -> Result<Self, String> {
        let server = setting.store_server();
        if setting.store == StoreKind::S3 {
            return Ok(Self { objects: OnceLock::new(), server, folder: None });
        }
        let folder = folder(setting);
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={SIZE_MIB}m"), "tmpfs"])
            .arg(&folder)
            .output()
            .map_err(|error| format!("mount: {error}"))?;
        if !mount.status.success() {
            return Err(format!("mount: {}", String::from_utf8_lossy(&mount.stderr).trim()));
        }
        Ok(Self { objects: OnceLock::new(), server, folder: Some(folder) })
    }

    fn objects(&self) -> &dyn ObjectStore {
        let open = || -> Arc<dyn ObjectStore> {
            if let Some(folder) = &self.folder {
                return Arc::new(LocalFileSystem::new_with_prefix(folder).expect("the folder is there"));
            }
            let (host, port) = self.server;
            let builder = AmazonS3Builder::new().with_endpoint(format!("http://{host}:{port}")).with_allow_http(true);
            let builder = builder.with_access_key_id("test").with_secret_access_key("test").with_region("us-east-1");
            // A store that fails fails now.
            let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
            Arc::new(builder.with_bucket_name(BUCKET).with_retry(retry).build().expect("complete settings"))
        };
        &**self.objects.get_or_init(open)
    }

    /// Makes the bucket, once the server answers.
    pub fn make_bucket(server: (Ipv4Addr, u16)) -> bool {
        s3::make_bucket(server, BUCKET)
    }

    async fn artifacts(&self) -> Result<Vec<object_store::path::Path>, object_store::Error> {
        let all: Vec<_> = self.objects().list(None).try_collect().await?;
        Ok(all.into_iter().map(|object| object.location).filter(|it| it.as_ref().contains("artifacts/")).collect())
    }

    /// Deletes one of its artifacts.
    ///
    /// # Errors
    /// The store fails.
    pub async fn lose(&self, which: usize) -> Result<bool, object_store::Error> {
        let all = self.artifacts().await?;
        let Some(one) = all.get(which % all.len().max(1)) else { return Ok(false) };
        self.objects().delete(one).await?;
        Ok(true)
    }

    /// Changes a bit of one of its artifacts.
    ///
    /// # Errors
    /// The store fails.
    pub async fn flip(&self, which: usize, bit: usize) -> Result<bool, object_store::Error> {
        let all = self.artifacts().await?;
        let Some(one) = all.get(which % all.len().max(1)) else { return Ok(false) };
        let mut bytes = self.objects().get(one).await?.bytes().await?.to_vec();
        let bits = bytes.len() * 8;
        if bits == 0 {
            return Ok(false);
        }
        let bit = bit % bits;
        bytes[bit / 8] ^= 1 << (bit % 8);
        self.objects().put(one, bytes.into()).await?;
        Ok(true)
    }

    /// Fills its file system. `false` if it has none of its own.
    pub fn fill(&self) -> bool {
        let Some(folder) = &self.folder else { return false };
        let mut file = fs::File::create(ballast(folder)).expect("a file");
        // Until the last byte is taken.
        let zeros = vec![0_u8; 1 << 20];
        for len in [1 << 20, 1 << 12, 1] {
            while std::io::Write::write_all(&mut file, &zeros[..len]).is_ok() {}
        }
        true
    }

    /// Makes room again.
    pub fn empty(&self) {
        if let Some(folder) = &self.folder {
            let _ = fs::remove_file(ballast(folder));
        }
    }
}

fn ballast(folder: &Path) -> PathBuf {
    folder.join("ballast")
}
