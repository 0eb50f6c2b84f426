//! The directory of a peer: which engine made it, who has it open, whether it was closed.
//!
//! ```text
//! KVLAB-PEER   three lines: format 1, engine NAME, keyspace raw|tables; written first, by rename
//! LOCK         locked while a handle is open
//! CLEAN        there after a close, removed by the next opening
//! NAME/        the engine's own files
//! ```
#![expect(clippy::disallowed_methods, reason = "peers do their own file work: nothing here is metered")]

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use kv_api::stats::FileUse;
use kv_api::{CommonOptions, Error, Keyspace, Result};

/// The file that says which engine made the directory.
pub const MARK_FILE: &str = "KVLAB-PEER";
const MARK_NEW_FILE: &str = "KVLAB-PEER.new";
const LOCK_FILE: &str = "LOCK";
const CLEAN_FILE: &str = "CLEAN";
/// The identity file of kvlab's own engines.
const KIN_FILE: &str = "KVLAB";
const FORMAT: &str = "format 1";

/// An open directory. Dropping it frees the lock.
#[derive(Debug)]
pub struct Home {
    /// The directory given.
    pub dir: PathBuf,
    /// The folder with the engine's files.
    pub files: PathBuf,
    /// True if the last handle closed it.
    pub was_clean: bool,
    _lock: File,
}

/// What a mark says.
struct Mark {
    engine: String,
    keyspace: Keyspace,
}

impl Mark {
    fn load(dir: &Path) -> Result<Option<Mark>> {
        let path = dir.join(MARK_FILE);
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read the mark", &path, error)),
        };
        let damaged = || Error::corruption(&path, 0, "it does not name an engine and a keyspace");
        let mut lines = text.lines();
        if lines.next() != Some(FORMAT) {
            return Err(damaged());
        }
        let engine = lines.next().and_then(|line| line.strip_prefix("engine ")).ok_or_else(damaged)?;
        let keyspace = lines.next().and_then(|line| line.strip_prefix("keyspace ")).ok_or_else(damaged)?;
        let keyspace = keyspace.parse().map_err(|_| damaged())?;
        Ok(Some(Mark { engine: engine.to_owned(), keyspace }))
    }

    fn store(&self, dir: &Path) -> Result<()> {
        let path = dir.join(MARK_NEW_FILE);
        let write = || {
            let mut file = File::create(&path)?;
            write!(file, "{FORMAT}\nengine {}\nkeyspace {}\n", self.engine, self.keyspace)?;
            file.sync_all()?;
            fs::rename(&path, dir.join(MARK_FILE))?;
            File::open(dir)?.sync_all()
        };
        write().map_err(|error| Error::io("write the mark", &path, error))
    }
}

/// The engine that made the database in `dir`, `None` if no peer did.
///
/// # Errors
/// The mark is there and cannot be read.
pub fn engine_of(dir: &Path) -> Result<Option<String>> {
    Ok(Mark::load(dir)?.map(|mark| mark.engine))
}

impl Home {
    /// Opens the directory, or makes a new one.
    ///
    /// # Errors
    /// `NoDatabase`, `Locked`, `WrongEngine`, `InvalidOptions` for the other keyspace, `Corruption` of the mark, `Io`.
    pub fn open(dir: &Path, engine: &'static str, options: &CommonOptions) -> Result<Home> {
        if !dir.is_dir() && !options.create {
            return Err(Error::NoDatabase { path: dir.to_path_buf() });
        }
        // Looked at before anything is made, so that a refused opening leaves no lock file behind.
        check(dir, engine, options)?;
        let files = dir.join(engine);
        fs::create_dir_all(dir).map_err(|error| Error::io("create the directory", dir, error))?;
        let lock = lock(dir)?;
        // Only what is seen under the lock counts.
        if check(dir, engine, options)?.is_none() {
            Mark { engine: engine.to_owned(), keyspace: options.keyspace }.store(dir)?;
        }
        fs::create_dir_all(&files).map_err(|error| Error::io("create the directory", &files, error))?;
        let clean = dir.join(CLEAN_FILE);
        let was_clean = clean.is_file();
        if was_clean && !options.read_only {
            fs::remove_file(&clean).map_err(|error| Error::io("remove", &clean, error))?;
        }
        Ok(Home { dir: dir.to_path_buf(), files, was_clean, _lock: lock })
    }

    /// Notes that everything was closed.
    ///
    /// # Errors
    /// `Io`, `NoSpace`.
    pub fn mark_clean(&self) -> Result<()> {
        let path = self.dir.join(CLEAN_FILE);
        File::create(&path).map(drop).map_err(|error| Error::io("create", &path, error))
    }
}

/// The mark of `dir` if it is one that `engine` may open, `None` if a database is to be made there.
fn check(dir: &Path, engine: &str, options: &CommonOptions) -> Result<Option<Mark>> {
    let wrong = |found: String| {
        Err(Error::WrongEngine { path: dir.to_path_buf(), found, expected: engine.to_owned() })
    };
    match Mark::load(dir)? {
        Some(mark) if mark.engine != engine => wrong(mark.engine),
        Some(mark) if mark.keyspace != options.keyspace => Err(Error::invalid(
            "keyspace",
            format!("{} holds {} keys, not {}", dir.display(), mark.keyspace, options.keyspace),
        )),
        Some(mark) => Ok(Some(mark)),
        None if dir.join(KIN_FILE).is_file() => wrong("btree or lsm".to_owned()),
        None if !options.create => Err(Error::NoDatabase { path: dir.to_path_buf() }),
        None => Ok(None),
    }
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK_FILE);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| Error::io("open", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path: dir.to_path_buf() }),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", &path, error)),
    }
}

/// Every file below `dir` that belongs to a database of `engine`, by walking it. What vanishes meanwhile is left out.
pub fn files(dir: &Path, engine: &str, is_log: fn(&str) -> bool) -> Vec<FileUse> {
    let mut found = Vec::new();
    for name in [MARK_FILE, LOCK_FILE, CLEAN_FILE] {
        if let Ok(meta) = fs::metadata(dir.join(name)) {
            found.push(FileUse { name: name.to_owned(), bytes: meta.len(), is_log: false });
        }
    }
    walk(&dir.join(engine), engine, is_log, &mut found);
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn walk(folder: &Path, below: &str, is_log: fn(&str) -> bool, found: &mut Vec<FileUse>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{below}/{name}");
        if meta.is_dir() {
            walk(&entry.path(), &path, is_log, found);
        } else {
            found.push(FileUse { is_log: is_log(&path), name: path, bytes: meta.len() });
        }
    }
}

/// Removes what a failed backup left. The first error tells more than one of cleaning up.
pub fn clear(dir: &Path, engine: &str) {
    let _ = fs::remove_dir_all(dir.join(engine));
    for name in [MARK_FILE, MARK_NEW_FILE, LOCK_FILE, CLEAN_FILE] {
        let _ = fs::remove_file(dir.join(name));
    }
}
