//! What was fetched before, on disk, so that a new commit costs what is new in it.
//!
//! # What is kept
//! One entry per address and per who asks: a directory of packs and a *marker*, a small file that says which packs
//! belong to it, by size and hash, and which commits are complete in them. All objects of the process that read the
//! same repository as the same one share the entry. The first of them that sees a new commit fetches it, the others
//! find it there. A fetch asks for the commit alone (`deepen 1`) and names the commits that are there (`have`), so that
//! a thin pack with the difference comes back. Small packs are joined when there are many; when what was fetched since
//! the last full fetch outgrows it, the next fetch is a full one and takes the place of everything.
//!
//! # What is believed
//! Nothing that was not checked. Every object was hashed when it came. A pack counts only if the marker names it, and
//! the marker is written after the pack, in one step, by renaming; it ends with its own hash. A process that is killed
//! at any moment leaves files behind that no marker names, and they are removed. Before a process uses an entry that
//! another one has left, it hashes every byte of its packs and compares. A crash of the machine may lose what was not
//! yet on disk: the marker holds the kernel's boot id, and what is from before the last boot is thrown away, which is
//! why nothing waits for the disk. When an object turns out to be damaged or missing while it is read, the entry is
//! thrown away at once and fetched anew next time. A fetch that builds upon an entry is checked to be complete before
//! it counts.
//!
//! # Who may use it
//! One process at a time, the one that holds the lock of the directory; another one works without. Readers hold the
//! files open: what is thrown away or replaced stays readable for them. Threads of the process take turns to fetch into
//! an entry and do not wait for each other otherwise.
//!
//! # How much is kept
//! Entries that were not used for the configured time go, and then those that were used the longest time ago, until the
//! rest has less than the configured size.

mod entry;
mod identity;
mod marker;

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::credentials::Credentials;
use crate::pack::INCOMING;
use crate::url::RemoteUrl;
pub(crate) use entry::{Draft, Entry, Root};

/// The file whose lock says which process uses the directory.
const OWNER: &str = "owner";
/// The file with the secret that names are made with.
const SALT: &str = "salt";
const SALT_BYTES: usize = 32;
/// How often it is looked whether the directory has become free, and whether something has had its time.
const PAUSE: Duration = Duration::from_secs(60);

/// Where fetched objects are kept and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory, which is made if need be. It is for this alone, and for one process at a time.
    pub path: PathBuf,
    /// The most bytes that are kept when nothing is being fetched.
    pub max_size: u64,
    /// How long something is kept that nobody asks for.
    pub max_age: Duration,
}

/// The cache of a process. When it cannot be opened at once, it is tried again when it is needed; the work is done without it
/// meanwhile.
#[derive(Debug)]
pub(crate) struct Cache {
    config: Config,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    home: Option<Home>,
    /// When it was tried last to open it.
    tried: Option<Instant>,
    /// When things were thrown out last.
    swept: Option<Instant>,
}

/// The directory, and its lock.
#[derive(Debug)]
struct Home {
    salt: [u8; SALT_BYTES],
    entries: HashMap<String, Arc<Entry>>,
    _owner: File,
}

impl Cache {
    /// A cache, opened if possible: what killed processes have left in the directory is removed now, whether or not anybody
    /// fetches.
    pub fn new(config: Config) -> Self {
        let cache = Self {
            config,
            state: Mutex::default(),
        };
        let _ = cache.home(&mut cache.state());
        cache
    }

    /// What is kept of a remote for who asks like this; nothing if the cache cannot be used.
    pub fn entry(&self, remote: &RemoteUrl, credentials: &Credentials) -> Option<Arc<Entry>> {
        let mut state = self.state();
        let home = self.home(&mut state)?;
        let name = identity::name(&home.salt, remote, credentials);
        let make = || Arc::new(Entry::new(self.config.path.join(&name)));
        let entry = Arc::clone(home.entries.entry(name.clone()).or_insert_with(make));
        entry.touch();
        Some(entry)
    }

    /// Throws out what has had its time or is too much. What is being fetched into stays.
    pub fn sweep(&self, now: SystemTime) {
        let mut state = self.state();
        let is_early = |last: Instant| last.elapsed() < PAUSE;
        let Some(home) = &mut state.home else { return };
        let mut entries: Vec<_> = home
            .entries
            .values()
            .map(|entry| (entry.used(), entry.size(), Arc::clone(entry)))
            .collect();
        entries.sort_by_key(|(used, _, _)| *used);
        let mut total: u64 = entries.iter().map(|(_, size, _)| size).sum();
        let is_too_much = total > self.config.max_size;
        if !is_too_much && state.swept.is_some_and(is_early) {
            return;
        }
        for (used, size, entry) in &entries {
            let is_old = now.duration_since(*used).is_ok_and(|age| age > self.config.max_age);
            if (is_old || total > self.config.max_size) && entry.discard() {
                tracing::debug!(entry = %entry.path().display(), size, is_old, "threw out fetched objects");
                total -= size;
            }
        }
        drop(entries);
        // Nobody else has one that only the map has: it can be made again.
        if let Some(home) = &mut state.home {
            home.entries
                .retain(|_, entry| Arc::strong_count(entry) > 1 || !entry.is_empty());
        }
        state.swept = Some(Instant::now());
    }

    /// Throws out everything that is not being fetched into, because the disk is full.
    pub fn make_room(&self) {
        let state = self.state();
        for entry in state.home.iter().flat_map(|home| home.entries.values()) {
            entry.discard();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn home<'a>(&self, state: &'a mut State) -> Option<&'a mut Home> {
        if state.home.is_none() && state.tried.is_none_or(|tried| tried.elapsed() >= PAUSE) {
            state.tried = Some(Instant::now());
            match open(&self.config.path) {
                Ok(Some(home)) => state.home = Some(home),
                Ok(None) => {
                    tracing::info!(path = %self.config.path.display(), "another process uses the cache of Git objects: working without");
                }
                Err(error) => {
                    tracing::warn!(path = %self.config.path.display(), %error, "the cache of Git objects cannot be used: working without");
                }
            }
        }
        state.home.as_mut()
    }
}

/// Opens the directory for this process alone; nothing if another one has it.
fn open(path: &Path) -> io::Result<Option<Home>> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    if !fs::symlink_metadata(path)?.is_dir() {
        return Err(io::Error::other("it is not a directory"));
    }
    // Only who owns it may do this: the directory of somebody else is refused.
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let owner = options.open(path.join(OWNER))?;
    match owner.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(None),
        Err(fs::TryLockError::Error(error)) => return Err(error),
    }
    let salt = salt(path)?;
    let mut entries = HashMap::new();
    for found in fs::read_dir(path)? {
        let found = found?;
        let name = found.file_name().to_string_lossy().into_owned();
        let kind = found.file_type()?;
        if name.starts_with(INCOMING) && kind.is_file() {
            // What cannot be removed now can be the next time.
            let _ = fs::remove_file(found.path());
        }
        if !identity::is_name(&name) || !kind.is_dir() {
            continue;
        }
        let entry = Entry::found(found.path());
        if !entry.is_empty() {
            entries.insert(name, Arc::new(entry));
        }
    }
    Ok(Some(Home {
        salt,
        entries,
        _owner: owner,
    }))
}

/// The secret that names are made with. Without it what is there cannot be found again, and goes when its time is over.
fn salt(path: &Path) -> io::Result<[u8; SALT_BYTES]> {
    let at = path.join(SALT);
    if let Ok(bytes) = fs::read(&at)
        && let Ok(salt) = bytes.try_into()
    {
        return Ok(salt);
    }
    let mut salt = [0; SALT_BYTES];
    File::open("/dev/urandom")?.read_exact(&mut salt)?;
    // Files made this way can be read by their owner only.
    let mut file = tempfile::Builder::new().prefix(INCOMING).tempfile_in(path)?;
    file.write_all(&salt)?;
    file.persist(at)?;
    Ok(salt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(path: &Path) -> Cache {
        Cache::new(Config {
            path: path.join("cache"),
            max_size: 1 << 20,
            max_age: Duration::from_secs(60),
        })
    }

    fn entry(cache: &Cache, url: &str) -> Option<PathBuf> {
        let remote = RemoteUrl::parse(url).unwrap();
        let entry = cache.entry(&remote, &Credentials::default())?;
        Some(entry.path().to_owned())
    }

    #[test]
    fn one_process_has_it_at_a_time_and_finds_what_the_one_before_called_so() {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (cache(directory.path()), cache(directory.path()));
        let found = entry(&first, "https://host/a");
        assert!(found.is_some());
        assert_ne!(entry(&first, "https://host/b"), found);
        assert_eq!(entry(&second, "https://host/a"), None);
        drop(first);
        assert_eq!(entry(&cache(directory.path()), "https://host/a"), found);
    }

    #[test]
    fn what_a_killed_process_left_half_written_goes_before_anything_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let at = entry(&cache(directory.path()), "https://host/a").unwrap();
        let home = directory.path().join("cache");
        // Among the files of the directory itself, and in an entry that was not finished.
        fs::create_dir(&at).unwrap();
        fs::write(at.join("incoming-pack"), "half").unwrap();
        fs::write(home.join("incoming-salt"), "half").unwrap();
        drop(cache(directory.path()));
        let mut left: Vec<_> = fs::read_dir(&home)
            .unwrap()
            .map(|found| found.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, [OWNER, SALT]);
    }

    #[test]
    fn nobody_else_can_read_it_and_a_link_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let first = cache(directory.path());
        entry(&first, "https://host/a").unwrap();
        let mode = |path: &str| {
            let metadata = fs::metadata(directory.path().join(path)).unwrap();
            metadata.permissions().mode() & 0o777
        };
        assert_eq!(
            (mode("cache"), mode("cache/salt"), mode("cache/owner")),
            (0o700, 0o600, 0o600)
        );
        let elsewhere = directory.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, directory.path().join("link")).unwrap();
        let config = Config {
            path: directory.path().join("link"),
            ..first.config.clone()
        };
        assert_eq!(entry(&Cache::new(config), "https://host/a"), None);
        assert_eq!(fs::read_dir(elsewhere).unwrap().count(), 0);
    }

    #[test]
    fn what_is_old_or_too_much_goes_and_what_is_in_use_stays_readable() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(directory.path());
        let remote = |name: &str| RemoteUrl::parse(&format!("https://host/{name}")).unwrap();
        let of = |name: &str| cache.entry(&remote(name), &Credentials::default()).unwrap();
        for name in ["a", "b"] {
            of(name).pretend(600 << 10);
        }
        let now = SystemTime::now();
        cache.sweep(now);
        assert_eq!(
            (of("a").size(), of("b").size()),
            (0, 600 << 10),
            "the one used last stays"
        );
        of("a").pretend(1);
        cache.sweep(now);
        assert_eq!(of("a").size(), 1);
        cache.state().swept = None;
        cache.sweep(now + Duration::from_secs(120));
        assert_eq!((of("a").size(), of("b").size()), (0, 0));
        // While somebody fetches into it, it stays.
        let entry = of("a");
        entry.pretend(2 << 20);
        let turn = entry.turn().try_lock_owned().unwrap();
        cache.sweep(now);
        assert_eq!(entry.size(), 2 << 20);
        drop(turn);
        cache.sweep(now);
        assert_eq!(entry.size(), 0);
    }
}
