//! Files with keys: one line of text with the kind of the key and its 32 bytes in hex; lines that begin with `#` are
//! comments.

use super::{ArtifactKeys, KeyError, PrivateKey, PublicKey};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

const PRIVATE: &str = "pvf-private-key:";
const PUBLIC: &str = "pvf-public-key:";
/// Largest file that is read, bytes.
const MAX_FILE: u64 = 4096;
/// Name of a private key's file in a folder.
const PRIVATE_NAME: &str = "signing.key";

const PRIVATE_FILE: &str = "private key";
const PUBLIC_FILE: &str = "public key";

fn failed(what: &'static str, file: &Path) -> impl Fn(io::Error) -> KeyError + use<> {
    let file = file.to_owned();
    move |source| KeyError::File { what, file: file.clone(), source }
}

/// The key's bytes in the text of a file. An error quotes nothing of it.
fn parse(text: &str, kind: &str, other: &str) -> Result<[u8; 32], &'static str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err("a key file has one line besides comments; make one with `pvf keys new`");
    };
    if line.starts_with(other) {
        return Err(match kind {
            PUBLIC => "this is a private key: give the file of the public key, and keep this one on prepare workers",
            _ => "this is a public key: give the file of the private key",
        });
    }
    let mut bytes = [0; 32];
    let digits = line.strip_prefix(kind).ok_or("not a key file; make one with `pvf keys new`")?;
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| "the key does not have 64 hexadecimal digits")?;
    Ok(bytes)
}

fn read_text(mut file: impl io::Read) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_FILE).read_to_end(&mut bytes)?;
    // Other bytes are in no key file, and are refused as such.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads a private key.
///
/// # Errors
/// The file cannot be read, others than its owner can access it, or it is no private key.
pub fn read_private(path: &Path) -> Result<PrivateKey, KeyError> {
    let file = File::open(path).map_err(failed(PRIVATE_FILE, path))?;
    let mode = file.metadata().map_err(failed(PRIVATE_FILE, path))?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Permissions { file: path.to_owned(), mode });
    }
    let text = read_text(file).map_err(failed(PRIVATE_FILE, path))?;
    let seed = parse(&text, PRIVATE, PUBLIC);
    seed.map(PrivateKey::from_seed).map_err(|why| KeyError::Content { what: PRIVATE_FILE, file: path.into(), why })
}

/// Reads a public key.
///
/// # Errors
/// The file cannot be read, or it is no public key.
pub fn read_public(path: &Path) -> Result<PublicKey, KeyError> {
    let text = File::open(path).and_then(read_text).map_err(failed(PUBLIC_FILE, path))?;
    let key = parse(&text, PUBLIC, PRIVATE)
        .and_then(|bytes| PublicKey::from_bytes(&bytes).ok_or("these bytes are no key of Ed25519"));
    key.map_err(|why| KeyError::Content { what: PUBLIC_FILE, file: path.into(), why })
}

/// Reads the public key of a file with a public or a private key.
///
/// # Errors
/// As [`read_private`] and [`read_public`].
pub fn read_public_of(path: &Path) -> Result<PublicKey, KeyError> {
    let text = File::open(path).and_then(read_text).map_err(failed("key", path))?;
    let is_private = text.lines().any(|line| line.trim().starts_with(PRIVATE));
    if is_private { read_private(path).map(|key| key.public()) } else { read_public(path) }
}

/// The two files of a key pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPairFiles {
    /// File of the private key.
    pub private: PathBuf,
    /// File of the public key.
    pub public: PathBuf,
}

impl KeyPairFiles {
    /// The files at `out`: `signing.key` and `signing.pub` in it if it is a folder (or ends with `/`), else `out`
    /// itself and the same with the extension `pub`.
    pub fn at(out: &Path) -> Self {
        let is_folder = out.is_dir() || out.as_os_str().as_encoded_bytes().ends_with(b"/");
        let private = if is_folder { out.join(PRIVATE_NAME) } else { out.to_owned() };
        Self { public: private.with_extension("pub"), private }
    }

    /// Makes a new key pair and writes both files; the private one for its owner only. A folder that does not exist is
    /// created.
    ///
    /// # Errors
    /// One of the files exists, or cannot be written.
    pub fn create(&self) -> Result<PublicKey, KeyError> {
        if let Some(folder) = self.private.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let created = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            created.map_err(failed(PRIVATE_FILE, &self.private))?;
        }
        for (what, file) in [(PRIVATE_FILE, &self.private), (PUBLIC_FILE, &self.public)] {
            if fs::symlink_metadata(file).is_ok() {
                let exists = io::Error::new(io::ErrorKind::AlreadyExists, "the file exists, and is not overwritten");
                return Err(failed(what, file)(exists));
            }
        }
        let key = PrivateKey::generate()?;
        let public = key.public();
        write_new(&self.private, &private_text(&key), 0o600).map_err(failed(PRIVATE_FILE, &self.private))?;
        write_new(&self.public, &public_text(&public), 0o644).map_err(failed(PUBLIC_FILE, &self.public))?;
        Ok(public)
    }
}

fn private_text(key: &PrivateKey) -> String {
    let (name, seed) = (key.public().fingerprint(), hex::encode(key.0.as_bytes()));
    format!("# pvf-fleet: private key {name}, for prepare workers only\n{PRIVATE}{seed}\n")
}

fn public_text(key: &PublicKey) -> String {
    format!("# pvf-fleet: public key {}\n{PUBLIC}{}\n", key.fingerprint(), hex::encode(key.as_bytes()))
}

fn write_new(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The key pair that a host on one machine keeps in a folder; the first call makes it. Calls of several processes at
/// once give the same pair.
///
/// # Errors
/// The folder cannot be written, or the key in it cannot be used.
pub fn own_keys(folder: &Path) -> Result<(ArtifactKeys, KeyPairFiles), KeyError> {
    let files = KeyPairFiles { private: folder.join(PRIVATE_NAME), public: folder.join("signing.pub") };
    let wrong = failed(PRIVATE_FILE, &files.private);
    if !files.private.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(&wrong)?;
        // The first one wins.
        let key = PrivateKey::generate()?;
        write_whole(&files.private, &private_text(&key), 0o600, |draft, file| fs::hard_link(draft, file))
            .or_else(unless_exists)
            .map_err(&wrong)?;
    }
    let key = read_private(&files.private)?;
    let public = key.public();
    // Also in the place of another one: the private key decides.
    if read_public(&files.public).ok().as_ref() != Some(&public) {
        write_whole(&files.public, &public_text(&public), 0o644, |draft, file| fs::rename(draft, file))
            .map_err(failed(PUBLIC_FILE, &files.public))?;
    }
    Ok((ArtifactKeys::of_pair(key), files))
}

/// Writes a file under another name first and then puts it into its place, so that no process reads a part of it.
fn write_whole(path: &Path, text: &str, mode: u32, place: impl Fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}-{}", pvf_proto::ids::RequestId::new()));
    let written = write_new(&draft, text, mode).and_then(|()| place(&draft, path));
    let _ = fs::remove_file(&draft);
    written
}

fn unless_exists(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_pair_is_read_back_and_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        for out in [folder.path().to_owned(), folder.path().join("new/folder/"), folder.path().join("a.key")] {
            let files = KeyPairFiles::at(&out);
            let key = files.create().unwrap();
            assert_eq!((mode(&files.private), mode(&files.public) & 0o133), (0o600, 0));
            assert_eq!(read_private(&files.private).unwrap().public(), key);
            assert_eq!(read_public(&files.public).unwrap(), key);
            for file in [&files.private, &files.public] {
                assert_eq!(read_public_of(file).unwrap(), key);
            }
            let text = fs::read(&files.private).unwrap();
            let error = files.create().unwrap_err().to_string();
            assert!(error.contains("not overwritten") && error.contains(files.private.to_str().unwrap()), "{error}");
            fs::rename(&files.private, folder.path().join("moved")).unwrap();
            assert!(files.create().unwrap_err().to_string().contains("signing.pub") || out.ends_with("a.key"));
            assert!(!files.private.exists(), "the public key is in the way");
            assert_eq!(fs::read(folder.path().join("moved")).unwrap(), text);
        }
    }

    #[test]
    fn a_private_key_that_others_can_access_is_refused_with_the_command_that_helps() {
        let folder = tempfile::tempdir().unwrap();
        let files = KeyPairFiles::at(folder.path());
        files.create().unwrap();
        let path = files.private.to_str().unwrap();
        for others in [0o640, 0o604, 0o620, 0o644, 0o601] {
            fs::set_permissions(&files.private, fs::Permissions::from_mode(others)).unwrap();
            let error = read_private(&files.private).unwrap_err().to_string();
            for part in [path, &format!("mode {others:04o}"), &format!("chmod 600 {path}")] {
                assert!(error.contains(part), "{part}: {error}");
            }
        }
        fs::set_permissions(&files.private, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(read_private(&files.private).is_ok());
    }

    #[test]
    fn files_without_the_expected_key_are_refused_without_their_content() {
        let folder = tempfile::tempdir().unwrap();
        let files = KeyPairFiles::at(folder.path());
        files.create().unwrap();
        let secret = fs::read_to_string(&files.private).unwrap();
        let secret = secret.lines().last().unwrap().split_once(':').unwrap().1.to_owned();
        let swapped = [read_private(&files.public).err(), read_public(&files.private).err()];
        let [no_private, no_public] = swapped.map(|error| error.unwrap().to_string());
        assert!(no_public.contains("this is a private key") && !no_public.contains(&secret[..8]), "{no_public}");
        assert!(no_private.contains("chmod") || no_private.contains("this is a public key"), "{no_private}");
        let file = folder.path().join("wrong.key");
        let (two, short) = (format!("{PRIVATE}{secret}\n{PRIVATE}{secret}"), format!("{PRIVATE}{}", &secret[1..]));
        for text in ["", "# only a comment", &secret, &two, &short, &format!("{short}x")] {
            let _ = fs::remove_file(&file);
            write_new(&file, text, 0o600).unwrap();
            let error = read_private(&file).unwrap_err().to_string();
            assert!(error.contains("wrong.key") && !error.contains(&secret[1..9]), "{text}: {error}");
        }
        assert!(read_private(&folder.path().join("none")).unwrap_err().to_string().contains("none"));
        let mut large = File::create(&file).unwrap();
        large.write_all(&vec![b'#'; 100_000]).unwrap();
        assert!(read_public(&file).is_err());
    }

    #[test]
    fn the_own_keys_of_a_folder_are_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("store/keys");
        let of_thread = |_| {
            std::thread::spawn({
                let folder = folder.clone();
                move || own_keys(&folder).unwrap().0.trusts()
            })
        };
        let all: Vec<_> = [0; 8].map(of_thread).into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(all.iter().all(|keys| *keys == all[0]));
        let (keys, files) = own_keys(&folder).unwrap();
        assert_eq!((keys.trusts(), mode(&files.private), mode(&folder)), (all[0].clone(), 0o600, 0o700));
        assert_eq!(keys.signs_with().as_slice(), all[0]);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "no drafts are left");
    }

    #[test]
    fn a_public_key_that_is_missing_cut_off_or_anothers_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (_, files) = own_keys(folder.path()).unwrap();
        let private = fs::read(&files.private).unwrap();
        let public = fs::read_to_string(&files.public).unwrap();
        let others = public_text(&PrivateKey::generate().unwrap().public());
        for wrong in [None, Some(""), Some(&public[..public.len() / 2]), Some(&others)] {
            match wrong {
                Some(text) => fs::write(&files.public, text).unwrap(),
                None => fs::remove_file(&files.public).unwrap(),
            }
            own_keys(folder.path()).unwrap();
            assert_eq!(fs::read_to_string(&files.public).unwrap(), public, "{wrong:?}");
        }
        assert_eq!(fs::read(&files.private).unwrap(), private);
        assert_eq!((fs::read_dir(folder.path()).unwrap().count(), mode(&files.public) & 0o133), (2, 0));
        let public = fs::metadata(&files.public).unwrap().modified().unwrap();
        own_keys(folder.path()).unwrap();
        assert_eq!(fs::metadata(&files.public).unwrap().modified().unwrap(), public, "what is right stays");
    }
}
