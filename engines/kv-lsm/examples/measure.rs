#![allow(clippy::allow_attributes, clippy::all, clippy::disallowed_methods, missing_docs)]
//! Measures by hand.
use kv_api::*;
use kv_lsm::*;
use std::time::Instant;
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
fn key(n: u64) -> [u8; 16] {
    let a = mix(n.wrapping_add(0x9e37_79b9_7f4a_7c15));
    let b = mix(a ^ n);
    let mut k = [0; 16];
    k[..8].copy_from_slice(&a.to_be_bytes());
    k[8..].copy_from_slice(&b.to_be_bytes());
    k
}
fn cpu() -> u64 {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}
fn rss() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .find(|l| l.starts_with("RssAnon"))
        .and_then(|l| l.split_whitespace().nth(1).map(|n| n.parse::<u64>().unwrap() / 1024))
        .unwrap()
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let n: u64 = args[1].parse().unwrap();
    let budget: u64 = args[2].parse::<u64>().unwrap() << 20;
    let batch: u64 = args[3].parse().unwrap();
    let mut o = LsmOptions::default();
    o.common.memory_budget = budget;
    o.common.io = IoMode::Buffered;
    for a in &args[4..] {
        let (k, v) = a.split_once('=').unwrap();
        if k == "io" {
            o.common.io = v.parse().unwrap()
        } else if k == "background" {
            o.common.background = v.parse().unwrap()
        } else {
            o.set(k, v).unwrap()
        }
    }
    let dir = tempfile::Builder::new().prefix("lsm-measure").tempdir_in("/work/tmp").unwrap();
    let db = LsmEngine::open(&dir.path().join("db"), o).unwrap();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let peak = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let mut p = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                p = p.max(rss());
                std::thread::sleep(std::time::Duration::from_millis(200));
            }
            p
        })
    };
    let value = [7u8; 112];
    let level: Durability = std::env::var("LEVEL").map_or(Durability::Os, |l| l.parse().unwrap());
    for pass in 0..2 {
        let t = Instant::now();
        let c0 = cpu();
        let mut b = Batch::new();
        let mut worst = 0u128;
        for i in 0..n {
            let i = if pass == 0 { i } else { mix(i) % n };
            b.put(&key(i), &value);
            if b.len() as u64 == batch {
                let t = Instant::now();
                db.write(&b, level).unwrap();
                worst = worst.max(t.elapsed().as_micros());
                b.clear();
            }
        }
        if !b.is_empty() {
            db.write(&b, Durability::Os).unwrap();
        }
        let e = t.elapsed();
        println!(
            "pass {pass}: {:?} cpu {:.2} us/put {:.2} us/put worst {} us rss {} MiB debt {}",
            e,
            (cpu() - c0) as f64 / 1000.0 / n as f64,
            e.as_micros() as f64 / n as f64,
            worst,
            rss(),
            db.stats().debt_bytes >> 20
        );
    }
    let t = Instant::now();
    db.settle(std::time::Duration::from_secs(600)).unwrap();
    println!("settle {:?}", t.elapsed());
    let gets = 1_000_000.min(n * 4);
    for round in 0..2 {
        let t = Instant::now();
        let c0 = cpu();
        let mut hits = 0u64;
        for i in 0..gets {
            if db
                .get_with(&key(mix(i + round * 7) % n), &mut |v| {
                    std::hint::black_box(v);
                })
                .unwrap()
            {
                hits += 1;
            }
        }
        println!(
            "get hit cpu {:.3} {:.3} us, {hits} hits",
            (cpu() - c0) as f64 / gets as f64 / 1000.0,
            t.elapsed().as_nanos() as f64 / gets as f64 / 1000.0
        );
    }
    let t = Instant::now();
    for i in 0..gets {
        db.get_with(&key(n + i), &mut |v| {
            std::hint::black_box(v);
        })
        .unwrap();
    }
    println!("get miss {:.3} us", t.elapsed().as_nanos() as f64 / gets as f64 / 1000.0);
    let t = Instant::now();
    let c0 = cpu();
    let mut s = db.scan(KeyRange::ALL, ScanOptions::FORWARD).unwrap();
    let mut c = 0u64;
    while s.next().unwrap().is_some() {
        c += 1;
    }
    println!(
        "scan cpu {:.1} {:.1} ns/entry {c}",
        (cpu() - c0) as f64 / c as f64,
        t.elapsed().as_nanos() as f64 / c as f64
    );
    drop(s);
    let t = Instant::now();
    for i in 0..20000u64 {
        let k = key(mix(i) % n);
        let mut s = db.scan(KeyRange::from(&k[..]..), ScanOptions::FORWARD).unwrap();
        for _ in 0..10 {
            s.next().unwrap();
        }
    }
    println!("seek+10 {:.2} us", t.elapsed().as_nanos() as f64 / 20000.0 / 1000.0);
    let st = db.stats();
    println!("peak {} MiB", {
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        peak.join().unwrap()
    });
    for (c, io) in st.io.unwrap().nonzero() {
        println!(
            "  {c}: w {} MiB r {} MiB calls {}/{}",
            io.write_bytes >> 20,
            io.read_bytes >> 20,
            io.write_calls,
            io.read_calls
        );
    }
    println!(
        "wa {:.2} {:?}",
        st.io.unwrap().amplified_write_bytes() as f64 / st.user.written_bytes as f64,
        st.counters
    );
    for m in &st.memory {
        println!("  {}: {} KiB", m.owner, m.bytes >> 10);
    }
    println!("{:?} {:?}", st.stalls, st.filter);
    if let Shape::Levels(l) = db.shape().unwrap() {
        for l in l.levels {
            if !l.tables.is_empty() {
                println!(
                    "L{} {} tables {} MiB target {}",
                    l.level,
                    l.tables.len(),
                    l.tables.iter().map(|t| t.bytes).sum::<u64>() >> 20,
                    l.target_bytes >> 20
                );
            }
        }
    }
    db.close().unwrap();
}
