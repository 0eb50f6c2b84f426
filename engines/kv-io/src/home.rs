//! Opening a directory: options checked, lock taken, identity read or begun. Both engines start here.
//!
//! Creation, each step synced before the next:
//!
//! 1. `LOCK` is taken.            2. `KVLAB.new` is written: from here numbered files belong to this creation.
//! 3. The engine writes its first files.      4. [`Home::commit_identity`] renames `KVLAB.new` to `KVLAB`.
//!
//! A directory with `KVLAB.new` and no `KVLAB` is a creation that never finished: its numbered files are removed
//! and it begins again. A creation makes one file of each kind, number 1, and logs nothing; more than that, or
//! numbered files with neither name, are a database that lost its identity: that is damage, and nothing is removed.
//! Names that are not ours are never touched.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kv_api::{Cause, CommonOptions, Error, ErrorKind, Result};

use crate::env::Env;
use crate::identity::Identity;
use crate::layout::{
    FIRST_ID, FileKind, ID_MAX, IDENTITY_FILE, IDENTITY_NEW_FILE, LOCK_FILE, LOG_FRAMES_OFFSET, LOG_MAGIC,
    known_files,
};
use crate::meter::{Meter, MeteredVfs};
use crate::vfs::{DirEntry, LockGuard, OpenOptions, Vfs, parent_of};

/// An open database directory. Dropping it frees the lock.
#[derive(Debug)]
pub struct Home {
    /// The directory.
    pub dir: PathBuf,
    /// What the database is; its salt seeds every checksum. Fixed options are those of the creation.
    pub identity: Identity,
    /// True if the database does not exist before [`Home::commit_identity`].
    pub is_new: bool,
    /// True if this handle made it.
    made_here: bool,
    /// The files, metered.
    pub vfs: Arc<dyn Vfs>,
    /// What moved through [`Home::vfs`].
    pub meter: Arc<Meter>,
    /// Time and randomness; its files are [`Home::vfs`].
    pub env: Env,
    _lock: Box<dyn LockGuard>,
}

/// What the names in a directory say about it.
#[derive(Debug, PartialEq, Eq)]
enum State {
    Empty,
    Unfinished,
    Complete,
    /// A numbered file without an identity.
    Lost(String),
}

fn state_of(entries: &[DirEntry]) -> State {
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    match known_files(entries).first() {
        _ if has(IDENTITY_FILE) => State::Complete,
        _ if has(IDENTITY_NEW_FILE) => State::Unfinished,
        Some((kind, id)) => State::Lost(kind.name(*id)),
        None => State::Empty,
    }
}

impl Home {
    /// Opens the directory, or begins a new database in it. `fixed` holds the options to fix in a new database;
    /// in one that exists those of its creation hold, see [`Identity::fixed`].
    ///
    /// # Errors
    /// `InvalidOptions`; `NoDatabase` if there is none and none was to be created; `Locked`; `WrongEngine`;
    /// `FormatVersion`; `Corruption` of the identity; `Io`.
    pub fn open(
        env: &Env,
        dir: &Path,
        engine: &str,
        format_version: u32,
        options: &CommonOptions,
        fixed: Vec<(String, String)>,
    ) -> Result<Home> {
        options.check()?;
        let (vfs, meter) = MeteredVfs::new(Arc::clone(&env.vfs));
        let was_there = has_dir(&*env.vfs, dir, options.create)?;
        if !was_there {
            create_durably(&*env.vfs, &*vfs, dir)?;
        }
        let lock = vfs.try_lock(&dir.join(LOCK_FILE), Cause::Identity)?;
        // Only what is seen under the lock counts: another handle may just have created or left the directory.
        let entries = vfs.list(dir, Cause::Identity)?;
        check_numbers(dir, &entries)?;
        let found = Identity::load(&*vfs, dir)?;
        let is_new = found.is_none();
        let identity = match found {
            Some(identity) => {
                identity.check(dir, engine, format_version, options.keyspace)?;
                if !options.read_only {
                    // The process before may have died between a rename and its sync. Whatever is acknowledged
                    // from here on must not rest on a name that the disk does not have yet.
                    vfs.sync_dir(dir, Cause::Identity)?;
                }
                identity
            }
            None if options.create => {
                if was_there {
                    sync_name_of(&*vfs, dir)?;
                }
                clear_unfinished(&*vfs, dir, &entries)?;
                let identity = Identity::new(env, engine, format_version, options.keyspace, fixed);
                identity.begin(&*vfs, dir)?;
                identity
            }
            None => return Err(Error::NoDatabase { path: dir.to_path_buf() }),
        };
        let env = env.with_vfs(Arc::clone(&vfs));
        Ok(Home { dir: dir.to_path_buf(), identity, is_new, made_here: is_new, vfs, meter, env, _lock: lock })
    }

    /// The last step of a creation: call it after the engine's first files are synced. Nothing happens if the
    /// database is not new.
    ///
    /// # Errors
    /// `Io` or `NoSpace`; opening again tells whether the database exists.
    pub fn commit_identity(&mut self) -> Result<()> {
        if self.is_new {
            // The names of the engine's first files come before the name that says they are complete.
            self.vfs.sync_dir(&self.dir, Cause::Identity)?;
            if !self.env.is_backup {
                self.identity.commit(&*self.vfs, &self.dir)?;
            }
            self.is_new = false;
        }
        Ok(())
    }

    /// The last step of a backup: only now is there a database. A crash before it leaves none, not one that opens
    /// with nothing in it.
    ///
    /// # Errors
    /// `InvalidOptions` if the database was there before; `Io` or `NoSpace`.
    pub fn finish_backup(&self) -> Result<()> {
        if !self.made_here {
            return Err(not_empty(&self.dir));
        }
        self.identity.commit(&*self.vfs, &self.dir)
    }

    /// The salt of a database that this handle made: a backup must not pour into one that was there.
    ///
    /// # Errors
    /// `InvalidOptions` if it was there.
    pub fn salt_if_made_here(&self) -> Result<u64> {
        if self.made_here { Ok(self.identity.salt) } else { Err(not_empty(&self.dir)) }
    }

    /// The path of a file in this directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The names in the directory; the meter then knows every file here.
    ///
    /// # Errors
    /// `Io`.
    pub fn list(&self) -> Result<Vec<DirEntry>> {
        self.vfs.list(&self.dir, Cause::Recovery)
    }
}

/// Refuses a backup into a directory that holds something. One that is absent is fine, and so is a lock file alone: a
/// failed backup leaves it.
///
/// # Errors
/// `InvalidOptions`; `Io` if the directory cannot be looked into, for what is not seen may be there.
pub fn check_backup_dir(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    match vfs.list(dir, Cause::Backup) {
        Ok(entries) if entries.iter().any(|entry| entry.name != LOCK_FILE) => Err(not_empty(dir)),
        Err(error) if !is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}

fn not_empty(dir: &Path) -> Error {
    let reason = format!("{} holds something; give an empty or absent directory", dir.display());
    Error::invalid("backup", reason)
}

/// Removes what a failed backup left in `dir`: what both engines write, and files named `own`. Somebody else's database
/// stays: what goes is a creation that never finished, or the database with the salt of this backup, under its lock.
/// The lock file stays, for a name that others may hold must not go. The error that made the backup fail tells more than
/// one of cleaning up.
pub fn clear_backup(vfs: &dyn Vfs, dir: &Path, own: &[&str], salt: Option<u64>) {
    let Ok(_lock) = vfs.try_lock(&dir.join(LOCK_FILE), Cause::Backup) else { return };
    let names = vfs.list(dir, Cause::Backup).unwrap_or_default();
    let is_ours = match Identity::load(vfs, dir) {
        Ok(Some(identity)) => Some(identity.salt) == salt,
        Ok(None) => state_of(&names) == State::Unfinished,
        Err(_) => false,
    };
    if !is_ours {
        return;
    }
    let known = known_files(&names).into_iter().map(|(kind, id)| kind.name(id));
    let ours = [IDENTITY_FILE, IDENTITY_NEW_FILE];
    for name in ours.iter().chain(own).map(|name| (*name).to_owned()).chain(known) {
        if names.iter().any(|entry| entry.name == name) {
            let _ = vfs.remove(&dir.join(name), Cause::Backup);
        }
    }
}

/// True if the directory may be locked, false if it must be made first. Without `create`, nothing is written where
/// no database is. What is seen here is not yet under the lock, so the meter must not learn lengths from it.
fn has_dir(unmetered: &dyn Vfs, dir: &Path, create: bool) -> Result<bool> {
    match unmetered.list(dir, Cause::Identity) {
        Ok(entries) if create || state_of(&entries) == State::Complete => Ok(true),
        Ok(_) => Err(Error::NoDatabase { path: dir.to_path_buf() }),
        Err(error) if !is_missing(&error) => Err(error),
        Err(_) if create => Ok(false),
        Err(_) => Err(Error::NoDatabase { path: dir.to_path_buf() }),
    }
}

fn is_missing(error: &Error) -> bool {
    let Error::Io { source, .. } = error else { return false };
    error.kind() == ErrorKind::Io && source.kind() == std::io::ErrorKind::NotFound
}

/// Makes the directory and whatever is missing above it, from the top, and syncs every directory that got a new name
/// before anything is made in the new one.
fn create_durably(unmetered: &dyn Vfs, vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    let mut missing = Vec::new();
    let mut child = dir.to_path_buf();
    while let Err(error) = unmetered.list(&child, Cause::Identity) {
        let parent = parent_of(&child);
        if !is_missing(&error) || parent == child {
            return Err(error);
        }
        missing.push(std::mem::replace(&mut child, parent));
    }
    sync_name_of(vfs, &child)?;
    missing.iter().rev().try_for_each(|made| {
        vfs.create_dir(made, Cause::Identity)?;
        vfs.sync_dir(&parent_of(made), Cause::Identity)
    })
}

/// Makes the name of a directory durable that was there already: the process that made it may have died before it had
/// done so. Above a directory that nobody may look into nothing can be done, and a root has no name.
fn sync_name_of(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    if dir.file_name().is_none() {
        return Ok(());
    }
    use std::io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    match vfs.sync_dir(&parent_of(dir), Cause::Identity) {
        // Above a mount point may be a file system that keeps nothing, and has nothing to sync.
        Err(Error::Io { source, .. })
            if matches!(
                source.kind(),
                PermissionDenied | InvalidInput | Unsupported | ReadOnlyFilesystem
            ) =>
        {
            Ok(())
        }
        done => done,
    }
}

/// Removes what a creation left behind that never finished.
fn clear_unfinished(vfs: &dyn Vfs, dir: &Path, entries: &[DirEntry]) -> Result<()> {
    match state_of(entries) {
        State::Lost(name) => {
            let what = format!("it is missing although {name} is here");
            return Err(Error::corruption(dir.join(IDENTITY_FILE), 0, what));
        }
        State::Unfinished => {}
        State::Empty | State::Complete => return Ok(()),
    }
    let files = known_files(entries);
    for (kind, id) in &files {
        if *id != FIRST_ID || *kind == FileKind::Wal && has_frames(vfs, &dir.join(kind.name(*id)))? {
            let what = format!(
                "it is missing, and {} is of a backup that never finished, which is of no use, or of a database that \
                 was in use; if {IDENTITY_NEW_FILE} is the identity of that, rename it",
                kind.name(*id)
            );
            return Err(Error::corruption(dir.join(IDENTITY_FILE), 0, what));
        }
    }
    for (kind, id) in files {
        vfs.remove(&dir.join(kind.name(id)), Cause::Identity)?;
    }
    // The removals become durable before `KVLAB.new` could: files without it would look like damage.
    vfs.sync_dir(dir, Cause::Identity)
}

/// New files get numbers above every one that is here, so there must be such numbers.
fn check_numbers(dir: &Path, entries: &[DirEntry]) -> Result<()> {
    match known_files(entries).into_iter().find(|(_, id)| *id > ID_MAX) {
        None => Ok(()),
        Some((kind, id)) => {
            let what =
                format!("no database has a file with a number above {ID_MAX}; move the file elsewhere");
            Err(Error::corruption(dir.join(kind.name(id)), 0, what))
        }
    }
}

/// True if anything follows the header of a log segment. Without that header nothing does: it is synced together with
/// the zeros behind it, and whatever a crash before that sync left in their place was never written.
fn has_frames(vfs: &dyn Vfs, path: &Path) -> Result<bool> {
    let file = vfs.open(path, OpenOptions::READ, Cause::Identity)?;
    let mut magic = [0; LOG_MAGIC.len()];
    let mut bytes = [0; 512];
    file.read_at(0, &mut magic, Cause::Identity)?;
    let filled = file.read_at(LOG_FRAMES_OFFSET, &mut bytes, Cause::Identity)?;
    Ok(magic == LOG_MAGIC && bytes.iter().take(filled).any(|byte| *byte != 0))
}
