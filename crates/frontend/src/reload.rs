//! Files that may change while the process runs: certificates and keys.
//!
//! They are read every `reload_interval`, and at once on SIGHUP, and put to use when
//! their bytes changed and make sense; else what was read before stays, and the log
//! says why. Reading beats watching for events: Kubernetes swaps a link two folders
//! up, editors write a new file, and network folders tell nobody.
//!
//! Invariant: whoever asks gets one whole version; a half-written pair of files is
//! refused and tried again when its bytes change.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio_util::task::AbortOnDropHandle;

use crate::metrics::WireMetrics;

/// Why files are not put to use. No message holds what is in them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file cannot be read.
    #[error("{setting}: cannot read {}", .path.display())]
    Read {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is in the files makes no sense.
    #[error("{setting}: {message}")]
    Content {
        /// The setting that names the file at fault.
        setting: &'static str,
        /// What is wrong.
        message: String,
    },
}

/// A file and the setting that names it.
pub type NamedFile = (&'static str, PathBuf);

/// Files as bytes, in the order they were named.
type FileContents = Vec<Vec<u8>>;

/// Makes a value of files' contents.
type BuildFn<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, FileError> + Send + Sync>;

/// A value made of files, and made anew when they change.
pub struct Reloaded<T> {
    value: Arc<ArcSwap<T>>,
    _watch: Option<AbortOnDropHandle<()>>,
}

impl<T> std::fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloaded").finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Reads `files` now and, as long as this lives, every `interval`. `what` is the label in metrics.
    ///
    /// # Errors
    /// When a file cannot be read or makes no sense now; later that is logged only.
    pub(crate) async fn start(
        what: &'static str,
        files: Vec<NamedFile>,
        interval: Duration,
        metrics: WireMetrics,
        make: impl Fn(&[Vec<u8>]) -> Result<T, FileError> + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        let make: BuildFn<T> = Box::new(make);
        let seen = read(&files).await?;
        let value = Arc::new(ArcSwap::from_pointee(make(&seen)?));
        let watch = Watch { what, files, interval, metrics, make, value: Arc::clone(&value), seen, unread: false };
        Ok(Self { value, _watch: Some(AbortOnDropHandle::new(tokio::spawn(watch.run()))) })
    }

    /// A value that stays: it is of no file.
    pub(crate) fn fixed(value: T) -> Self {
        Self { value: Arc::new(ArcSwap::from_pointee(value)), _watch: None }
    }

    /// The value of now.
    pub(crate) fn get(&self) -> Arc<T> {
        self.value.load_full()
    }
}

async fn read(files: &[NamedFile]) -> Result<FileContents, FileError> {
    let mut contents = Vec::with_capacity(files.len());
    for (setting, path) in files {
        let failed = |source| FileError::Read { setting, path: path.clone(), source };
        contents.push(tokio::fs::read(path as &Path).await.map_err(failed)?);
    }
    Ok(contents)
}

struct Watch<T> {
    what: &'static str,
    files: Vec<NamedFile>,
    interval: Duration,
    metrics: WireMetrics,
    make: BuildFn<T>,
    value: Arc<ArcSwap<T>>,
    /// What was tried last, whatever came of it.
    seen: FileContents,
    /// The files could not be read last time, and that was said.
    unread: bool,
}

impl<T> Watch<T> {
    async fn run(mut self) {
        let mut hangup = SighupSignal::listen();
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.interval) => {}
                () = hangup.next() => {}
            }
            self.poll_files().await;
        }
    }

    async fn poll_files(&mut self) {
        let made = match read(&self.files).await {
            Ok(contents) if contents == self.seen => {
                self.unread = false;
                return;
            }
            Ok(contents) => {
                self.unread = false;
                let made = (self.make)(&contents);
                self.seen = contents;
                made
            }
            Err(_) if self.unread => return,
            Err(error) => {
                self.unread = true;
                Err(error)
            }
        };
        self.metrics.reloaded(self.what, made.is_ok());
        match made {
            Ok(value) => {
                self.value.store(Arc::new(value));
                tracing::info!(files = self.what, "files changed and were read anew");
            }
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::warn!(files = self.what, error, "files changed but make no sense; what was read before stays");
            }
        }
    }
}

/// SIGHUP, where there is one.
struct SighupSignal {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl SighupSignal {
    fn listen() -> Self {
        Self {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok(),
        }
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::FrontendMetrics;

    /// A number in a file, looked at often.
    async fn number(path: &Path) -> (Reloaded<u32>, FrontendMetrics) {
        let metrics = FrontendMetrics::new().unwrap();
        let make = |files: &[Vec<u8>]| {
            let text = String::from_utf8_lossy(&files[0]);
            let wrong = |_| FileError::Content { setting: "number", message: "is no number".to_owned() };
            text.trim().parse().map_err(wrong)
        };
        let files = vec![("number", path.to_owned())];
        let wire = metrics.wire.clone();
        (Reloaded::start("tls", files, Duration::from_millis(1), wire, make).await.unwrap(), metrics)
    }

    async fn until(what: impl Fn() -> bool) {
        while !what() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_change_is_taken_nonsense_is_not_and_the_next_change_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n");
        std::fs::write(&path, "1").unwrap();
        let (value, metrics) = number(&path).await;
        let errors = || {
            let scrape = metrics.render(true).unwrap();
            let series = "sortie_reloads_total{file=\"tls\",result=\"error\"} ";
            scrape.lines().find_map(|line| line.strip_prefix(series)?.parse::<f64>().ok()).unwrap_or(0.0)
        };
        assert_eq!(*value.get(), 1);
        std::fs::write(&path, "2").unwrap();
        until(|| *value.get() == 2).await;
        // A look may have come while "2" was being written, and found nothing.
        let before = errors();
        std::fs::write(&path, "many").unwrap();
        until(|| errors() > before).await;
        assert_eq!(*value.get(), 2);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "3").unwrap();
        until(|| *value.get() == 3).await;
    }

    #[tokio::test]
    async fn a_start_without_the_file_names_the_setting_and_the_file() {
        let wire = FrontendMetrics::new().unwrap().wire;
        let files = vec![("tls_cert", PathBuf::from("/nowhere/cert.pem"))];
        let started = Reloaded::start("tls", files, Duration::from_secs(1), wire, |_| Ok(()));
        let error = started.await.unwrap_err().to_string();
        assert!(error.contains("tls_cert") && error.contains("/nowhere/cert.pem"), "{error}");
    }
}
