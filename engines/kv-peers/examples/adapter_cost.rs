//! What an adapter costs: the same gets and puts through `Kv` and through the engine's own API, on one open database.
//!
//! `cargo run --release -p kv-peers --features peers --example adapter_cost`
//!
//! Rounds of both kinds alternate; the ratio is the median over rounds of time through `Kv` / time through the own
//! API. Below 1.10 the adapter is no reason for a result.
#![expect(clippy::disallowed_methods, reason = "a program that measures takes the time")]

use std::time::Instant;

use kv_api::{CommonOptions, Durability, IoMode, Kv, Result};
use kv_peers::peer::Peer;
use kv_peers::{PeerEngine, PeerOptions};

/// Records of 16 + 100 bytes: 11 MiB of data, all in memory, so that the engine does not hide the adapter.
const RECORDS: u64 = 100_000;
const ROUNDS: usize = 31;
const GETS: u64 = 20_000;
const PUTS: u64 = 4_000;

fn key(n: u64) -> [u8; 16] {
    let mut key = [0; 16];
    let hash = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for (to, from) in key.iter_mut().zip(hash.to_be_bytes().into_iter().chain(n.to_be_bytes())) {
        *to = from;
    }
    key
}

/// The records of one round, the same for both ways.
fn keys(round: usize, count: u64) -> impl Iterator<Item = [u8; 16]> {
    let from = round as u64 * 7919;
    (0..count).map(move |n| key((from + n * 31) % RECORDS))
}

/// Nanoseconds per operation of `work`, which does `count`.
fn time(count: u64, work: impl FnOnce() -> u64) -> f64 {
    let from = Instant::now();
    let bytes = work();
    let wall_ns = from.elapsed().as_nanos() as f64;
    assert_eq!(bytes, count * 100, "every operation moved its value");
    wall_ns / count as f64
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// The engine's own way to do one operation; gives the bytes of the value.
trait Own: Peer {
    fn own_get(&self, keys: &mut dyn Iterator<Item = [u8; 16]>) -> u64;
    fn own_put(&self, keys: &mut dyn Iterator<Item = [u8; 16]>, value: &[u8]) -> u64;
}

fn compare<P: Own>() -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let common = CommonOptions { memory_budget: 128 << 20, io: IoMode::Buffered, ..CommonOptions::default() };
    let db = PeerEngine::<P>::open(&dir.path().join("db"), PeerOptions::new(common))?;
    // The lowest level, where the engine does least and the adapter shows most.
    let level = P::LEVELS.first().copied().unwrap_or(Durability::Disk);
    let value = [7_u8; 100];
    for numbers in (0..RECORDS).collect::<Vec<_>>().chunks(1000) {
        let mut batch = kv_api::Batch::new();
        for n in numbers {
            batch.put(&key(*n), &value);
        }
        db.write(&batch, level)?;
    }
    db.flush()?;
    db.put(&key(0), &value, level)?;
    let kv: &dyn Kv = &db;
    let through_get = |round| {
        time(GETS, || {
            let mut bytes = 0;
            for key in keys(round, GETS) {
                kv.get_with(&key, &mut |value| bytes += value.len() as u64).expect("reads");
            }
            bytes
        })
    };
    let through_put = |round| {
        time(PUTS, || {
            for key in keys(round, PUTS) {
                kv.put(&key, &value, level).expect("writes");
            }
            PUTS * 100
        })
    };
    let own = |work: &dyn Fn(&P) -> u64| db.with_peer(|peer| work(peer)).expect("open");
    let own_get = |round| time(GETS, || own(&|peer| peer.own_get(&mut keys(round, GETS))));
    let own_put = |round| time(PUTS, || own(&|peer| peer.own_put(&mut keys(round, PUTS), &value)));
    report::<P>("get", through_get, own_get);
    report::<P>("put", through_put, own_put);
    db.close()
}

fn report<P: Peer>(what: &str, through: impl Fn(usize) -> f64, own: impl Fn(usize) -> f64) {
    let pairs: Vec<(f64, f64)> = (0..ROUNDS)
        // Which goes first changes, so that neither always finds the caches warm.
        .map(|round| match round % 2 {
            0 => (through(round), own(round)),
            _ => {
                let own = own(round);
                (through(round), own)
            }
        })
        .collect();
    let of = |pick: fn(&(f64, f64)) -> f64| median(pairs.iter().map(pick).collect());
    let ratio = of(|(through, own)| through / own);
    let (through, own) = (of(|pair| pair.0), of(|pair| pair.1));
    println!("{:<9} {what}  {own:>8.0} ns own  {through:>8.0} ns through Kv  ratio {ratio:.3}", P::NAME);
}

#[cfg(feature = "peers")]
mod peers {
    use super::Own;
    use ::redb::ReadableDatabase;
    use kv_peers::{canopydb, fjall, lmdb, redb, sqlite};

    impl Own for redb::Redb {
        fn own_get(&self, keys: &mut dyn Iterator<Item = [u8; 16]>) -> u64 {
            keys.map(|key| {
                let table =
                    self.database().begin_read().expect("reads").open_table(redb::TABLE).expect("opens");
                let value = table.get(key.as_slice()).expect("reads").expect("is there");
                value.value().len() as u64
            })
            .sum()
        }

        fn own_put(&self, keys: &mut dyn Iterator<Item = [u8; 16]>, value: &[u8]) -> u64 {
            keys.map(|key| {
                let mut txn = self.database().begin_write().expect("begins");
                txn.set_durability(::redb::Durability::None).expect("sets");
                txn.open_table(redb::TABLE).expect("opens").insert(key.as_slice(), value).expect("writes");
                txn.commit().expect("commits");
                value.len() as u64
            })
            .sum()
        }
    }

    impl Own for fjall::Fjall {
        fn own_get(&self, keys: &mut dyn Iterator<Item = [u8; 16]>) -> u64 {
            let (_, keyspace) = self.handles();
            keys.map(|key| keyspace.get(key).expect("reads").expect("is there").len() as u64).sum()
        }

        fn own_put(&self, keys: &mut dyn Iterator<Item = [u8; 16]>, value: &[u8]) -> u64 {
            let (_, keyspace) = self.handles();
            keys.map(|key| {
                keyspace.insert(key, value).expect("writes");
                value.len() as u64
            })
            .sum()
        }
    }

    impl Own for lmdb::Lmdb {
        fn own_get(&self, keys: &mut dyn Iterator<Item = [u8; 16]>) -> u64 {
            let (env, table) = self.handles();
            keys.map(|key| {
                let txn = env.read_txn().expect("begins");
                table.get(&txn, &key).expect("reads").expect("is there").len() as u64
            })
            .sum()
        }

        fn own_put(&self, keys: &mut dyn Iterator<Item = [u8; 16]>, value: &[u8]) -> u64 {
            let (env, table) = self.handles();
            keys.map(|key| {
                let mut txn = env.write_txn().expect("begins");
                table.put(&mut txn, &key, value).expect("writes");
                txn.commit().expect("commits");
                value.len() as u64
            })
            .sum()
        }
    }

    impl Own for sqlite::Sqlite {
        fn own_get(&self, keys: &mut dyn Iterator<Item = [u8; 16]>) -> u64 {
            self.with_connection(|db| {
                keys.map(|key| {
                    let mut get = db.prepare_cached(sqlite::GET).expect("prepares");
                    let len = |row: &rusqlite::Row<'_>| Ok(row.get_ref(0)?.as_blob()?.len() as u64);
                    get.query_row([&key[..]], len).expect("is there")
                })
                .sum()
            })
        }

        fn own_put(&self, keys: &mut dyn Iterator<Item = [u8; 16]>, value: &[u8]) -> u64 {
            self.with_connection(|db| {
                keys.map(|key| {
                    let mut put = db.prepare_cached(sqlite::PUT).expect("prepares");
                    put.execute([&key[..], value]).expect("writes");
                    value.len() as u64
                })
                .sum()
            })
        }
    }

    impl Own for canopydb::Canopy {
        fn own_get(&self, keys: &mut dyn Iterator<Item = [u8; 16]>) -> u64 {
            keys.map(|key| {
                let txn = self.database().begin_read().expect("begins");
                let tree = txn.get_tree(canopydb::TREE).expect("opens").expect("is there");
                tree.get(&key).expect("reads").expect("is there").len() as u64
            })
            .sum()
        }

        fn own_put(&self, keys: &mut dyn Iterator<Item = [u8; 16]>, value: &[u8]) -> u64 {
            keys.map(|key| {
                let txn = self.database().begin_write().expect("begins");
                txn.get_or_create_tree(canopydb::TREE).expect("opens").insert(&key, value).expect("writes");
                txn.commit_with(false).expect("commits");
                value.len() as u64
            })
            .sum()
        }
    }
}

#[cfg(feature = "rocksdb")]
impl Own for kv_peers::rocksdb::Rocks {
    fn own_get(&self, keys: &mut dyn Iterator<Item = [u8; 16]>) -> u64 {
        keys.map(|key| self.database().get_pinned(key).expect("reads").expect("is there").len() as u64).sum()
    }

    fn own_put(&self, keys: &mut dyn Iterator<Item = [u8; 16]>, value: &[u8]) -> u64 {
        keys.map(|key| {
            self.database().put(key, value).expect("writes");
            value.len() as u64
        })
        .sum()
    }
}

fn main() -> Result<()> {
    macro_rules! run {
        ($peer:ty) => {
            compare::<$peer>()?
        };
    }
    kv_peers::for_every_peer!(run);
    Ok(())
}
