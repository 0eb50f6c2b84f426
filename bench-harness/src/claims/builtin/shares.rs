//! How requests spread over keys, by generator: which share of them goes to the most popular keys. Computed from the
//! definitions, not drawn.

use super::{Ground, Observed, case};
use crate::claims::case::{Case, Sample};
use crate::error::Result;
use crate::units::{count, three};
use workloads::dist::fnv1a_64;

/// The fifth of the keys that is said to get four fifths of the requests.
const HEAD: f64 = 0.2;
const THETAS: [f64; 9] = [0.5, 0.7, 0.8, 0.85, 0.89, 0.95, 0.99, 1.1, 1.3];
const KEYS: [u64; 2] = [100_000, 1_000_000];
const MANY_KEYS: [u64; 4] = [100_000, 1_000_000, 100_000_000, 10_000_000_000];
/// YCSB draws from a zipf distribution over this many items whatever the number of keys, and hashes them onto the keys.
const YCSB_ITEMS: u64 = 10_000_000_000;
const YCSB_THETA: f64 = 0.99;
/// Ranks for each key that are laid onto their keys one by one.
const RANKS_A_KEY: u64 = 20;

pub fn run(_: &Ground<'_>) -> Result<Observed> {
    let (mut cases, mut facts) = (Vec::new(), Vec::new());
    for keys in KEYS {
        cases.extend(THETAS.map(|theta| zipf_case(keys, theta)));
        let [one, fifth] = ycsb_shares(keys, [0.01, HEAD]);
        let group = format!("ycsb-zipf, {} keys", count(keys));
        cases.push(Case { at: Some(YCSB_THETA), group: group.clone(), ..case(group, Sample::Exact(fifth)) });
        let percent = |share: f64| format!("{} %", three(share * 100.0));
        facts.push(format!(
            "{} keys: the top 1 % / 20 % get {} / {} of zipf 0.99 and {} / {} of ycsb-zipf",
            count(keys),
            percent(zipf_share(keys, YCSB_THETA, 0.01)),
            percent(zipf_share(keys, YCSB_THETA, HEAD)),
            percent(one),
            percent(fifth),
        ));
    }
    let large = MANY_KEYS.map(|keys| format!("{} keys {}", count(keys), three(theta_of(keys))));
    facts.push(format!("80/20 exactly needs a theta of: {}", large.join(", ")));
    Ok(Observed { cases, facts, ..Observed::default() })
}

/// The theta at which the most popular fifth of `keys` gets four fifths of the requests: by bisection, for the share grows
/// with theta.
fn theta_of(keys: u64) -> f64 {
    let (mut low, mut high) = (0.0, 2.0);
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if zipf_share(keys, middle, HEAD) < 1.0 - HEAD { low = middle } else { high = middle }
    }
    low
}

fn zipf_case(keys: u64, theta: f64) -> Case {
    let group = format!("{} keys", count(keys));
    let found = case(format!("zipf {theta}, {group}"), Sample::Exact(zipf_share(keys, theta, HEAD)));
    Case { group, at: Some(theta), ..found }
}

/// The share of requests that go to the `head` most popular of `keys` under zipf: H(head keys) / H(keys).
fn zipf_share(keys: u64, theta: f64, head: f64) -> f64 {
    harmonic((keys as f64 * head).round() as u64, theta) / harmonic(keys, theta)
}

/// The same under YCSB's generator, for each of `heads`. It draws ranks whatever the number of keys and hashes them onto
/// those: the ranks that matter are laid onto their keys one by one, and those beyond, of which every key gets thousands,
/// evenly. O(keys).
fn ycsb_shares(keys: u64, heads: [f64; 2]) -> [f64; 2] {
    let all = harmonic(YCSB_ITEMS, YCSB_THETA);
    let laid = (keys * RANKS_A_KEY).min(YCSB_ITEMS);
    let mut shares = vec![0.0_f64; usize::try_from(keys).unwrap_or(0)];
    for rank in 0..laid {
        let key = (fnv1a_64(rank) as i64).unsigned_abs() % keys;
        shares[key as usize] += ((rank + 1) as f64).powf(-YCSB_THETA) / all;
    }
    let rest = (1.0 - harmonic(laid, YCSB_THETA) / all) / keys as f64;
    shares.sort_by(|a, b| b.total_cmp(a));
    heads.map(|head| {
        let top = (keys as f64 * head).round() as usize;
        shares.iter().take(top).sum::<f64>() + rest * top as f64
    })
}

/// H(n) = sum of i^-theta for i from 1 to n. The first ranks one by one, the rest by the integral with the correction of
/// Euler and Maclaurin.
fn harmonic(n: u64, theta: f64) -> f64 {
    const SINGLE: u64 = 10_000;
    let first: f64 = (1..=n.min(SINGLE)).map(|rank| (rank as f64).powf(-theta)).sum();
    if n <= SINGLE {
        return first;
    }
    let (from, to) = (SINGLE as f64, n as f64);
    let integral = if (theta - 1.0).abs() < 1e-12 {
        (to / from).ln()
    } else {
        (to.powf(1.0 - theta) - from.powf(1.0 - theta)) / (1.0 - theta)
    };
    first + integral + (to.powf(-theta) - from.powf(-theta)) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_the_sum() {
        for theta in [0.5, 0.99, 1.0, 1.3] {
            let direct: f64 = (1..=200_000).map(|rank| f64::from(rank).powf(-theta)).sum();
            assert!((harmonic(200_000, theta) / direct - 1.0).abs() < 1e-9, "theta {theta}");
        }
        // YCSB's own constant for its ten thousand million items.
        assert!((harmonic(YCSB_ITEMS, YCSB_THETA) - 26.469).abs() < 1e-3);
    }

    #[test]
    fn the_shares_are_those_of_the_generators() {
        let near = |found: f64, expected: f64| (found - expected).abs() < 0.01;
        assert!(near(zipf_share(1_000_000, 0.99, 0.2), 0.88), "{}", zipf_share(1_000_000, 0.99, 0.2));
        assert!(near(zipf_share(1_000_000, 0.99, 0.01), 0.66));
        assert!(near(zipf_share(1_000_000, 0.89, 0.2), 0.80));
        assert!(near(zipf_share(1_000_000, 0.0, 0.2), 0.20));
        assert!(near(theta_of(1_000_000), 0.89));
        let [one, fifth] = ycsb_shares(1_000_000, [0.01, 0.2]);
        assert!(near(one, 0.39) && near(fifth, 0.62), "{one} {fifth}");
    }
}
