//! The RSA key with which clients encrypt their password where there is no TLS.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use tandem_protocol::auth::rsa::{self, KeyPair};
use thiserror::Error;
use tokio::sync::watch;

/// Why the configured key can't be used.
#[derive(Debug, Error)]
pub enum Error {
    #[error("listener.rsa_key: {path} can't be read: {error}; Tandem's account must be able to read it")]
    File { path: PathBuf, error: io::Error },
    #[error(
        "listener.rsa_key: {path} is {error}; it must be a private key in PEM form (\"BEGIN PRIVATE KEY\") of at least \
         2048 bits, as `openssl genpkey -algorithm RSA` makes it; without the file Tandem makes one there"
    )]
    Key { path: PathBuf, error: rsa::Error },
    #[error("cannot start a thread that makes an RSA key: {0}")]
    Thread(io::Error),
}

/// A key that there is, or that is being made.
#[derive(Clone, Debug)]
pub struct RsaKey {
    made: watch::Receiver<Option<Arc<KeyPair>>>,
    _maker: Option<Arc<Maker>>,
}

/// The thread that makes a key. Whoever lets go of it last waits for its end: a process that ends while a first random number
/// is being made is aborted by aws-lc (0.47), whose exit handler takes the source of entropy away from the thread.
#[derive(Debug)]
struct Maker(Option<JoinHandle<()>>);

impl Drop for Maker {
    fn drop(&mut self) {
        if self.0.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that makes an RSA key panicked");
        }
    }
}

impl RsaKey {
    /// Reads the key from `path`. Where there is none, or no path, a thread makes one, which takes a moment: nobody
    /// waits for it but the first client that needs it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn new(path: Option<&Path>) -> Result<Self, Error> {
        if let Some(path) = path
            && let Some(key) = Self::check(path)?
        {
            let (_, made) = watch::channel(Some(Arc::new(key)));
            return Ok(Self { made, _maker: None });
        }
        let (done, made) = watch::channel(None);
        let path = path.map(Path::to_owned);
        let thread = std::thread::Builder::new().name("rsa-key".to_owned());
        let thread = thread
            .spawn(move || {
                if let Some(key) = make(path.as_deref()) {
                    // Nobody is there any more when Tandem stops meanwhile.
                    let _ = done.send(Some(Arc::new(key)));
                }
            })
            .map_err(Error::Thread)?;
        Ok(Self {
            made,
            _maker: Some(Arc::new(Maker(Some(thread)))),
        })
    }

    /// Reads the file; `None` where there is none yet.
    ///
    /// # Errors
    /// When it is there and is no key.
    pub fn check(path: &Path) -> Result<Option<KeyPair>, Error> {
        let path = || path.to_owned();
        let pem = match fs::read_to_string(path()) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::File { path: path(), error }),
        };
        let key = KeyPair::from_pem(&pem).map_err(|error| Error::Key { path: path(), error })?;
        let path = path();
        let readable_by_all = fs::metadata(&path).is_ok_and(|about| about.permissions().mode() & 0o004 != 0);
        if readable_by_all {
            let path = path.display();
            tracing::warn!(
                "listener.rsa_key: every account of this machine may read {path}; `chmod o-rwx` it"
            );
        }
        Ok(Some(key))
    }

    /// The key; waits for one that is being made. `None` if that failed.
    pub async fn get(&self) -> Option<Arc<KeyPair>> {
        let mut made = self.made.clone();
        let key = made.wait_for(Option::is_some).await.ok()?;
        key.clone()
    }
}

fn make(path: Option<&Path>) -> Option<KeyPair> {
    let key = KeyPair::generate();
    let key = key
        .inspect_err(|error| tracing::error!("no RSA key could be made: {error}"))
        .ok()?;
    if let Some(path) = path {
        match keep(path, &key.private_pem()) {
            Ok(()) => tracing::info!("a new RSA key for clients without TLS is in {}", path.display()),
            Err(error) => tracing::error!(
                "listener.rsa_key: the new key could not be written to {}: {error}; it serves until Tandem stops",
                path.display()
            ),
        }
    }
    Some(key)
}

/// Writes it whole or not at all, for the own account only.
fn keep(path: &Path, pem: &str) -> io::Result<()> {
    let mut beside = path.to_owned().into_os_string();
    beside.push(format!(".{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    let written = file
        .write_all(pem.as_bytes())
        .and_then(|()| file.sync_all())
        // Unlike a renaming, this leaves alone what another process has put there meanwhile.
        .and_then(|()| fs::hard_link(&beside, path));
    let removed = fs::remove_file(&beside);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_is_made_once_and_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rsa.pem");
        let first = RsaKey::new(Some(&path))
            .expect("begun")
            .get()
            .await
            .expect("made");
        let mode = fs::metadata(&path).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "nobody else may read it");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
        let again = RsaKey::new(Some(&path))
            .expect("read")
            .get()
            .await
            .expect("there");
        assert_eq!(again.public_pem(), first.public_pem());
    }

    #[test]
    fn whoever_lets_go_of_it_last_waits_until_it_is_made() {
        let key = RsaKey::new(None).expect("begun");
        let made = key.made.clone();
        drop(key.clone());
        drop(key);
        assert!(made.borrow().is_some(), "the thread has not ended");
    }

    #[tokio::test]
    async fn a_file_that_is_no_key_stops_the_start_and_one_that_cannot_be_written_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("rsa.pem");
        fs::write(&path, "somebody's notes").expect("written");
        let error = RsaKey::new(Some(&path)).expect_err("refused").to_string();
        assert!(error.contains("BEGIN PRIVATE KEY"), "{error}");
        let nowhere = folder.path().join("nowhere/rsa.pem");
        assert!(RsaKey::new(Some(&nowhere)).expect("begun").get().await.is_some());
        assert!(RsaKey::new(None).expect("begun").get().await.is_some());
    }
}
