//! A peer behind the contract: limits, counters, sequence numbers, closing, backup, and the checks every engine owes.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use kv_api::{
    BackupReport, Batch, CommitInfo, CompactReport, Direction, Durability, EngineInfo, EntryRef, Error,
    ErrorKind, EventListener, IngestReport, KeyRange, Kv, KvRead, Limits, RecoveryReport, Result, Scan,
    ScanOptions, SeqNo, SettleReport, Shape, Snapshot, SortedSource, Stats, VerifyReport,
};

use crate::home::{self, Home};
use crate::peer::{Cursor, Peer, PeerOptions, View};
use crate::ranges::clamped;
use crate::scan::PeerScan;
use crate::shared::{Held, Shared};

/// An open peer.
pub struct PeerEngine<P: Peer> {
    shared: Arc<Shared>,
    /// `None` once closed. Every call holds it for reading, so that closing waits for all of them.
    peer: RwLock<Option<P>>,
    /// After the peer: its files are let go before the lock is.
    home: Mutex<Option<Home>>,
    options: PeerOptions<P>,
    limits: Limits,
    dir: std::path::PathBuf,
    recovery: RecoveryReport,
    /// The failure after which no more writes are taken.
    failure: OnceLock<Error>,
}

/// The peer of an open handle, held for one call.
struct Open<'e, P>(RwLockReadGuard<'e, Option<P>>);

impl<P> Open<'_, P> {
    fn peer(&self) -> Result<&P> {
        self.0.as_ref().ok_or(Error::Closed)
    }
}

impl<P: Peer> PeerEngine<P> {
    /// Opens the database in `dir`, or creates it.
    ///
    /// # Errors
    /// `InvalidOptions`, `NoDatabase`, `Locked`, `WrongEngine`, `Corruption`, `Io`, `NoSpace`.
    pub fn open(dir: &Path, options: PeerOptions<P>) -> Result<PeerEngine<P>> {
        options.common.check()?;
        let home = Home::open(dir, P::NAME, &options.common)?;
        let peer = P::open(&home.files, &options)?;
        Ok(PeerEngine {
            shared: Arc::new(Shared::default()),
            peer: RwLock::new(Some(peer)),
            recovery: RecoveryReport { clean: home.was_clean, ..RecoveryReport::default() },
            home: Mutex::new(Some(home)),
            limits: options.limits(),
            options,
            dir: dir.to_path_buf(),
            failure: OnceLock::new(),
        })
    }

    /// Calls `use_it` with the peer, for comparisons with its own API.
    ///
    /// # Errors
    /// `Closed`.
    pub fn with_peer<T>(&self, use_it: impl FnOnce(&P) -> T) -> Result<T> {
        Ok(use_it(self.opened().peer()?))
    }

    fn opened(&self) -> Open<'_, P> {
        // A panic elsewhere cannot leave the option half changed.
        Open(self.peer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The peer for a call that writes.
    fn writable(&self, action: &'static str) -> Result<Open<'_, P>> {
        let open = self.opened();
        open.peer()?;
        if self.options.common.read_only {
            return Err(Error::ReadOnly { action });
        }
        match self.failure.get() {
            Some(failure) => Err(failure.to_poisoned()),
            None => Ok(open),
        }
    }

    /// Remembers a failure that leaves the outcome of a write unknown.
    fn outcome<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result
            && matches!(error.kind(), ErrorKind::Io | ErrorKind::Corruption)
        {
            let _ = self.failure.set(error.clone());
        }
        result
    }

    /// The lowest level of the peer that is not below `asked`.
    fn level(asked: Durability) -> Durability {
        P::LEVELS.iter().copied().find(|level| *level >= asked).unwrap_or(Durability::Disk)
    }

    fn committed(&self, ops: u64, user_bytes: u64, durability: Durability) -> CommitInfo {
        self.shared.user.count_commit(ops, user_bytes);
        let seq = self.shared.seq.fetch_add(ops, Ordering::Relaxed) + ops;
        CommitInfo { seq, durability }
    }

    fn view(&self) -> Result<PeerSnapshot<P::View>> {
        let open = self.opened();
        let peer = open.peer()?;
        let seq = self.shared.seq.load(Ordering::Relaxed);
        let view = peer.view()?;
        let (shortest, longest) = (P::KEY_BYTES_MIN, self.limits.key_bytes_max);
        Ok(PeerSnapshot { view, seq, shortest, longest, held: Held::new(&self.shared) })
    }

    /// A key that no entry can have; looking for it would be an error in some peers.
    fn is_impossible(&self, key: &[u8]) -> bool {
        key.len() < P::KEY_BYTES_MIN || key.len() > self.limits.key_bytes_max
    }

    fn check_key(key: &[u8]) -> Result<()> {
        if key.len() < P::KEY_BYTES_MIN {
            return Err(Error::Unsupported { action: "the empty key: give every key at least one byte" });
        }
        Ok(())
    }

    fn check(&self, batch: &Batch) -> Result<()> {
        self.limits.check(batch)?;
        if P::KEY_BYTES_MIN > 0 {
            for op in batch.ops() {
                match op {
                    kv_api::Op::Put { key, .. } => Self::check_key(key)?,
                    kv_api::Op::Delete { .. } | kv_api::Op::DeleteRange { .. } => {}
                }
            }
        }
        Ok(())
    }
}

impl<P: Peer> KvRead for PeerEngine<P> {
    fn get_with(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let open = self.opened();
        let peer = open.peer()?;
        let hit = !self.is_impossible(key) && peer.get(key, found)?;
        Ok(self.shared.user.count_get(hit))
    }

    fn scan(&self, range: KeyRange<'_>, options: ScanOptions) -> Result<Box<dyn Scan>> {
        self.view()?.scan(range, options)
    }

    fn multi_get(&self, keys: &[&[u8]], out: &mut Vec<Option<kv_api::Value>>) -> Result<()> {
        self.view()?.multi_get(keys, out)
    }
}

impl<P: Peer> Kv for PeerEngine<P> {
    fn info(&self) -> EngineInfo {
        let common = &self.options.common;
        let mut settings = vec![
            ("memory_budget".to_owned(), common.memory_budget.to_string()),
            ("wal_bytes_max".to_owned(), common.wal_bytes_max().to_string()),
            ("background".to_owned(), self.options.threads().to_string()),
        ];
        settings.extend(self.options.settings());
        let open = self.opened();
        let fixed = open.peer().map(|peer| peer.fixed_settings(&self.options)).unwrap_or_default();
        settings.extend(fixed.into_iter().map(|(name, value)| (name.to_owned(), value)));
        EngineInfo {
            name: P::NAME.to_owned(),
            version: P::VERSION.to_owned(),
            durability: P::LEVELS.to_vec(),
            io: Some(open.peer().map_or(kv_api::IoMode::Buffered, P::io)),
            keyspace: common.keyspace,
            settings,
        }
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn write(&self, batch: &Batch, durability: Durability) -> Result<CommitInfo> {
        let open = self.writable("write")?;
        self.check(batch)?;
        let level = Self::level(durability);
        if !batch.is_empty() {
            self.outcome(open.peer()?.write(batch, level))?;
        }
        Ok(self.committed(batch.len() as u64, batch.user_bytes(), level))
    }

    fn put(&self, key: &[u8], value: &[u8], durability: Durability) -> Result<CommitInfo> {
        let open = self.writable("write")?;
        let user_bytes = key.len() + value.len();
        let fits = key.len() <= self.limits.key_bytes_max
            && value.len() <= self.limits.value_bytes_max
            && user_bytes + 32 <= self.limits.batch_bytes_max;
        if !fits {
            // The batch says which limit it is.
            drop(open);
            let mut batch = Batch::with_capacity(Batch::OP_BYTES_MAX + user_bytes);
            return self.write(batch.put(key, value), durability);
        }
        Self::check_key(key)?;
        let level = Self::level(durability);
        self.outcome(open.peer()?.put(key, value, level))?;
        Ok(self.committed(1, user_bytes as u64, level))
    }

    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        Ok(Arc::new(self.view()?))
    }

    fn ingest(&self, sorted: &mut dyn SortedSource) -> Result<IngestReport> {
        let open = self.writable("ingest")?;
        let mut source = Ascending {
            sorted,
            last: None,
            limits: self.limits,
            shortest: P::KEY_BYTES_MIN,
            report: IngestReport::default(),
            refused: false,
        };
        let result = open.peer()?.ingest(&mut source);
        let (report, refused) = (source.report, source.refused);
        // A source that failed says nothing about the engine.
        if refused {
            result?
        } else {
            self.outcome(result)?
        };
        self.shared.seq.fetch_add(report.entries, Ordering::Relaxed);
        Ok(report)
    }

    fn sync(&self) -> Result<()> {
        self.outcome(self.writable("sync")?.peer()?.sync())
    }

    fn flush(&self) -> Result<()> {
        self.outcome(self.writable("flush")?.peer()?.flush())
    }

    fn settle(&self, timeout: Duration) -> Result<SettleReport> {
        self.outcome(self.writable("settle")?.peer()?.settle(timeout))
    }

    fn compact(&self, range: KeyRange<'_>) -> Result<CompactReport> {
        let open = self.writable("compact")?;
        if P::COMPACT_WAITS_FOR_VIEWS && self.shared.views_open.load(Ordering::Relaxed) > 0 {
            return Err(Error::Unsupported {
                action: "compact while snapshots or scans are open: drop them first",
            });
        }
        if let Some(range) = clamped(range, P::KEY_BYTES_MIN, self.limits.key_bytes_max) {
            self.outcome(open.peer()?.compact(range))?;
        }
        // What was moved is not measured: nothing between the engine and its files counts.
        Ok(CompactReport::default())
    }

    fn backup(&self, dir: &Path) -> Result<BackupReport> {
        if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
            let reason = format!("{} holds something; give an empty or absent directory", dir.display());
            return Err(Error::invalid("backup", reason));
        }
        let snapshot = self.view()?;
        let mut source = CursorSource { cursor: snapshot.view.cursor(KeyRange::ALL, Direction::Forward)? };
        let mut options = self.options.clone();
        options.common.read_only = false;
        options.common.create = true;
        let copied = PeerEngine::open(dir, options).and_then(|copy| {
            let report = copy.ingest(&mut source)?;
            copy.close()?;
            Ok(BackupReport { entries: report.entries, user_bytes: report.user_bytes, seq: snapshot.seq })
        });
        if copied.is_err() {
            home::clear(dir, P::NAME);
        }
        copied
    }

    fn verify(&self) -> Result<VerifyReport> {
        let snapshot = self.view()?;
        let mut report = VerifyReport::default();
        let mut cursor = snapshot.view.cursor(KeyRange::ALL, Direction::Forward)?;
        let mut last: Option<Vec<u8>> = None;
        while let Some(EntryRef { key, value }) = cursor.next()? {
            if last.as_deref().is_some_and(|last| last >= key) {
                report.add(&self.dir, 0, format!("key {} is out of order", key.escape_ascii()));
            }
            report.entries += 1;
            report.bytes += (key.len() + value.len()) as u64;
            let kept = last.get_or_insert_with(Vec::new);
            kept.clear();
            kept.extend_from_slice(key);
        }
        drop((cursor, snapshot));
        self.opened().peer()?.verify(&mut report)?;
        Ok(report)
    }

    fn recovery(&self) -> RecoveryReport {
        self.recovery
    }

    /// Walks the directory for the list of files.
    fn stats(&self) -> Stats {
        let open = self.opened();
        let peer = open.peer().ok();
        Stats {
            user: self.shared.user.stats(),
            io: None,
            memory: peer.map(P::memory).unwrap_or_default(),
            debt_bytes: peer.map(P::debt_bytes).unwrap_or_default(),
            files: home::files(&self.dir, P::NAME, P::is_log),
            snapshots_open: self.shared.views_open.load(Ordering::Relaxed),
            seq: self.shared.seq.load(Ordering::Relaxed),
            ..Stats::default()
        }
    }

    fn shape(&self) -> Result<Shape> {
        self.opened().peer()?.shape()
    }

    fn subscribe(&self, _listener: Arc<dyn EventListener>) {
        // Peers do not tell what happens inside them.
    }

    fn close(&self) -> Result<()> {
        self.shared.closed.store(true, Ordering::Release);
        let peer = self.peer.write().unwrap_or_else(PoisonError::into_inner).take();
        let home = self.home.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((peer, home)) = peer.zip(home) else { return Ok(()) };
        if self.options.common.read_only {
            drop(peer);
            return Ok(());
        }
        peer.close()?;
        if self.failure.get().is_none() { home.mark_clean() } else { Ok(()) }
    }
}

impl<P: Peer> std::fmt::Debug for PeerEngine<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerEngine").field("name", &P::NAME).field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// One state of a peer.
struct PeerSnapshot<V> {
    view: V,
    seq: SeqNo,
    shortest: usize,
    longest: usize,
    held: Held,
}

impl<V: View> KvRead for PeerSnapshot<V> {
    fn get_with(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.held.shared().check_open()?;
        let possible = (self.shortest..=self.longest).contains(&key.len());
        let hit = possible && self.view.get(key, found)?;
        Ok(self.held.shared().user.count_get(hit))
    }

    fn scan(&self, range: KeyRange<'_>, options: ScanOptions) -> Result<Box<dyn Scan>> {
        let shared = self.held.shared();
        shared.check_open()?;
        shared.user.count_scan();
        let limits = (self.shortest, self.longest);
        Ok(Box::new(PeerScan::open(&self.view, range, options.direction, limits, Held::new(shared))?))
    }
}

impl<V: View> Snapshot for PeerSnapshot<V> {
    fn seq(&self) -> SeqNo {
        self.seq
    }
}

/// A source whose keys are checked: in order, and within the limits.
struct Ascending<'s> {
    sorted: &'s mut dyn SortedSource,
    last: Option<Vec<u8>>,
    limits: Limits,
    shortest: usize,
    report: IngestReport,
    /// True once the source, and not the engine, failed.
    refused: bool,
}

impl Ascending<'_> {
    fn check(last: Option<&[u8]>, entry: EntryRef<'_>, limits: Limits, shortest: usize) -> Result<()> {
        let EntryRef { key, value } = entry;
        if last.is_some_and(|last| last >= key) {
            return Err(Error::invalid("ingest", "keys must be strictly ascending; sort them first"));
        }
        if key.len() < shortest {
            return Err(Error::Unsupported { action: "the empty key: give every key at least one byte" });
        }
        if key.len() > limits.key_bytes_max {
            let (bytes, limit) = (key.len() as u64, limits.key_bytes_max as u64);
            return Err(Error::KeyTooLarge { bytes, limit });
        }
        if value.len() > limits.value_bytes_max {
            let (bytes, limit) = (value.len() as u64, limits.value_bytes_max as u64);
            return Err(Error::ValueTooLarge { bytes, limit });
        }
        Ok(())
    }
}

impl SortedSource for Ascending<'_> {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        self.refused = true;
        let Some(entry) = self.sorted.next()? else {
            self.refused = false;
            return Ok(None);
        };
        Self::check(self.last.as_deref(), entry, self.limits, self.shortest)?;
        let kept = self.last.get_or_insert_with(Vec::new);
        kept.clear();
        kept.extend_from_slice(entry.key);
        self.report.entries += 1;
        self.report.user_bytes += (entry.key.len() + entry.value.len()) as u64;
        self.refused = false;
        Ok(Some(entry))
    }
}

/// A walk as a source of entries.
struct CursorSource<C> {
    cursor: C,
}

impl<C: Cursor> SortedSource for CursorSource<C> {
    fn next(&mut self) -> Result<Option<EntryRef<'_>>> {
        self.cursor.next()
    }
}
