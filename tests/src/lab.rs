//! A place for one engine: which engine, which settings, which files. The only file that names the engines.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kv_api::{Background, Kv, MemoryEngine, Result};
use kv_btree::BTreeEngine;
use kv_io::{Env, SimVfs};
use kv_lsm::LsmEngine;
use tempfile::TempDir;

use crate::checked::Checked;
use crate::knobs::Knobs;
use crate::planted;

/// The engines under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// `kv_api::MemoryEngine`: no files.
    Memory,
    /// The B+tree.
    BTree,
    /// The LSM tree.
    Lsm,
    /// redb, over files of this machine alone, as all peers.
    #[cfg(feature = "peers")]
    Redb,
    /// fjall.
    #[cfg(feature = "peers")]
    Fjall,
    /// LMDB.
    #[cfg(feature = "peers")]
    Lmdb,
    /// SQLite.
    #[cfg(feature = "peers")]
    Sqlite,
    /// canopydb.
    #[cfg(feature = "peers")]
    Canopy,
    /// RocksDB.
    #[cfg(feature = "rocksdb")]
    Rocks,
}

impl Engine {
    /// Those whose contents outlive the handle.
    pub const STORED: [Engine; 2] = [Engine::BTree, Engine::Lsm];

    /// Its name, as its identity file says it.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Memory => "memory",
            Engine::BTree => "btree",
            Engine::Lsm => "lsm",
            #[cfg(feature = "peers")]
            Engine::Redb => "redb",
            #[cfg(feature = "peers")]
            Engine::Fjall => "fjall",
            #[cfg(feature = "peers")]
            Engine::Lmdb => "lmdb",
            #[cfg(feature = "peers")]
            Engine::Sqlite => "sqlite",
            #[cfg(feature = "peers")]
            Engine::Canopy => "canopydb",
            #[cfg(feature = "rocksdb")]
            Engine::Rocks => "rocksdb",
        }
    }

    /// True if its contents outlive the handle.
    pub fn is_stored(self) -> bool {
        self != Engine::Memory
    }

    /// Opens a database of this engine in `dir`.
    ///
    /// # Errors
    /// Whatever the engine says.
    pub fn open(self, env: &Env, dir: &Path, knobs: &Knobs) -> Result<Arc<dyn Kv>> {
        planted::plant();
        Ok(match self {
            Engine::Memory => Arc::new(MemoryEngine::with_keyspace(knobs.common.keyspace)),
            Engine::BTree => Arc::new(BTreeEngine::open_with(env.clone(), dir, knobs.btree())?),
            Engine::Lsm => Arc::new(LsmEngine::open_with(env.clone(), dir, knobs.lsm())?),
            #[cfg(feature = "peers")]
            Engine::Redb => peer::<kv_peers::redb::Redb>(dir, knobs)?,
            #[cfg(feature = "peers")]
            Engine::Fjall => peer::<kv_peers::fjall::Fjall>(dir, knobs)?,
            #[cfg(feature = "peers")]
            Engine::Lmdb => peer::<kv_peers::lmdb::Lmdb>(dir, knobs)?,
            #[cfg(feature = "peers")]
            Engine::Sqlite => peer::<kv_peers::sqlite::Sqlite>(dir, knobs)?,
            #[cfg(feature = "peers")]
            Engine::Canopy => peer::<kv_peers::canopydb::Canopy>(dir, knobs)?,
            #[cfg(feature = "rocksdb")]
            Engine::Rocks => peer::<kv_peers::rocksdb::Rocks>(dir, knobs)?,
        })
    }

    /// The engines that must know each other's directories: those made here, or those made by others.
    pub fn kin(self) -> &'static [Engine] {
        match self {
            Engine::Memory | Engine::BTree | Engine::Lsm => &Self::STORED,
            #[cfg(any(feature = "peers", feature = "rocksdb"))]
            _ => crate::peers::ALL,
        }
    }
}

/// Opens an engine made by others with its fair settings for the knobs that all engines share.
#[cfg(any(feature = "peers", feature = "rocksdb"))]
fn peer<P: kv_peers::peer::Peer>(dir: &Path, knobs: &Knobs) -> Result<Arc<dyn Kv>> {
    Ok(Arc::new(kv_peers::PeerEngine::open(dir, kv_peers::PeerOptions::<P>::new(knobs.common.clone()))?))
}

/// An engine, its settings and a directory for it.
#[derive(Debug)]
pub struct Lab {
    /// Which engine.
    pub engine: Engine,
    /// Its settings.
    pub knobs: Knobs,
    /// Where its files, its time and its randomness come from.
    pub env: Env,
    dir: PathBuf,
    /// Removes the directory in the end; none over a simulated disk.
    temporary: Option<TempDir>,
}

impl Lab {
    /// An engine in an empty directory of this machine, removed in the end.
    pub fn new(engine: Engine, knobs: Knobs) -> Lab {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let dir = temporary.path().join("db");
        Lab { engine, knobs, env: Env::os(), dir, temporary: Some(temporary) }
    }

    /// An engine over other files than those of this machine.
    pub fn over(engine: Engine, knobs: Knobs, env: Env) -> Lab {
        Lab { engine, knobs, env, dir: PathBuf::from("/db"), temporary: None }
    }

    /// An engine over a simulated disk, where one seed is one schedule if the upkeep is inline.
    pub fn simulated(engine: Engine, knobs: Knobs, seed: u64) -> Lab {
        let disk = SimVfs::new(seed);
        // Threads need a clock that moves by itself.
        let env = match knobs.common.background {
            Background::Inline => Env::simulated(disk, seed),
            Background::Threads(_) => Env::real(disk),
        };
        Lab::over(engine, knobs, env)
    }

    /// The directory of the database.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path beside the database, for a second one.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.with_file_name(name)
    }

    /// True if the files are real ones.
    pub fn is_on_disk(&self) -> bool {
        self.temporary.is_some()
    }

    /// Opens the database.
    ///
    /// # Errors
    /// Whatever the engine says.
    pub fn open(&self) -> Result<Checked> {
        self.open_with(|_| {})
    }

    /// Opens the database with some settings changed.
    ///
    /// # Errors
    /// Whatever the engine says.
    pub fn open_with(&self, change: impl FnOnce(&mut Knobs)) -> Result<Checked> {
        self.open_dir(&self.dir, change)
    }

    /// Opens another directory in the same way.
    ///
    /// # Errors
    /// Whatever the engine says.
    pub fn open_dir(&self, dir: &Path, change: impl FnOnce(&mut Knobs)) -> Result<Checked> {
        let mut knobs = self.knobs.clone();
        change(&mut knobs);
        Ok(Checked::new(self.engine.open(&self.env, dir, &knobs)?))
    }
}

/// Makes one test per engine of every function named, over a lab with small settings: `btree::last_write_wins`.
/// Engines with files run a second time with their upkeep on threads: `btree_threads::last_write_wins`.
#[macro_export]
macro_rules! for_every_engine {
    ($($test:ident),+ $(,)?) => {
        mod memory { $crate::tests_of!($crate::Engine::Memory, $crate::Knobs::small(), $($test),+); }
        $crate::for_every_stored_engine!($($test),+);
    };
}

/// Like [`for_every_engine`], for engines whose contents outlive the handle.
#[macro_export]
macro_rules! for_every_stored_engine {
    ($($test:ident),+ $(,)?) => {
        mod btree { $crate::tests_of!($crate::Engine::BTree, $crate::Knobs::small(), $($test),+); }
        mod lsm { $crate::tests_of!($crate::Engine::Lsm, $crate::Knobs::small(), $($test),+); }
        mod btree_threads {
            $crate::tests_of!($crate::Engine::BTree, $crate::Knobs::small().with_threads(2), $($test),+);
        }
        mod lsm_threads {
            $crate::tests_of!($crate::Engine::Lsm, $crate::Knobs::small().with_threads(2), $($test),+);
        }
        #[cfg(feature = "peers")]
        mod redb { $crate::tests_of!($crate::Engine::Redb, $crate::Knobs::small(), $($test),+); }
        #[cfg(feature = "peers")]
        mod fjall { $crate::tests_of!($crate::Engine::Fjall, $crate::Knobs::small(), $($test),+); }
        #[cfg(feature = "peers")]
        mod lmdb { $crate::tests_of!($crate::Engine::Lmdb, $crate::Knobs::small(), $($test),+); }
        #[cfg(feature = "peers")]
        mod sqlite { $crate::tests_of!($crate::Engine::Sqlite, $crate::Knobs::small(), $($test),+); }
        #[cfg(feature = "peers")]
        mod canopydb { $crate::tests_of!($crate::Engine::Canopy, $crate::Knobs::small(), $($test),+); }
        #[cfg(feature = "rocksdb")]
        mod rocksdb { $crate::tests_of!($crate::Engine::Rocks, $crate::Knobs::small(), $($test),+); }
    };
}

/// One test per function, over one engine.
#[macro_export]
macro_rules! tests_of {
    ($engine:expr, $knobs:expr, $($test:ident),+) => {
        $(
            #[test]
            fn $test() -> kv_api::Result<()> {
                if $crate::is_skipped($engine, stringify!($test)) {
                    return Ok(());
                }
                super::$test(&$crate::Lab::new($engine, $knobs))
            }
        )+
    };
}

/// Makes one test per engine of every function named, for those that bring their own labs: `btree::hostile`.
#[macro_export]
macro_rules! each_engine {
    ($($test:ident),+ $(,)?) => {
        $crate::each_engine!(@ memory, $crate::Engine::Memory, $($test),+);
        $crate::each_stored_engine!($($test),+);
    };
    (@ $name:ident, $engine:expr, $($test:ident),+) => {
        mod $name {
            $(
                #[test]
                fn $test() -> kv_api::Result<()> {
                    super::$test($engine).inspect_err(|_| $crate::share::tell_last_repeat())
                }
            )+
        }
    };
}

/// Like [`each_engine`], for engines whose contents outlive the handle.
#[macro_export]
macro_rules! each_stored_engine {
    ($($test:ident),+ $(,)?) => {
        $crate::each_engine!(@ btree, $crate::Engine::BTree, $($test),+);
        $crate::each_engine!(@ lsm, $crate::Engine::Lsm, $($test),+);
    };
}
