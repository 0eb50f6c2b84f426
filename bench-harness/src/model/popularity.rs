//! How requests spread over records, and over pages that hold several: the base of every formula about caches and
//! buffers.
//!
//! With p(i) the share of requests that go to record i and A(t) the mean of e^(-p(i) t) over all records:
//! * t requests touch D(t) = N (1 - A(t)) different records (Poisson approximation);
//! * a page of c records with random keys is left alone by t requests with probability A(t)^c, so t requests touch
//!   (N / c) (1 - A(t)^c) different pages;
//! * a cache of s pages holds those touched in the last t requests, where t is such that these are s pages (Che, Tung and
//!   Wang, "Hierarchical web caching systems", 2002); its hit ratio follows from the derivative of A.

use crate::units::or_dash;

/// How requests choose records.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Popularity {
    /// Each as often as any other.
    Uniform,
    /// The i-th most popular with a share in proportion to i^-theta.
    Zipf {
        /// The exponent.
        theta: f64,
    },
    /// What YCSB calls zipfian: ranks of a zipf over 10^10 items hashed into the records, so that what lies beyond the
    /// records is spread over all of them evenly.
    YcsbZipf,
    /// A share `ops` of requests goes to a share `data` of the records, evenly; the rest to the rest.
    Hotspot {
        /// Share of the records.
        data: f64,
        /// Share of the requests.
        ops: f64,
    },
}

/// Records of about the same popularity, and what share of requests each gets.
type Class = (f64, f64);

/// Ranks of a zipf distribution that stand alone; later ones are taken together in classes 5 % wide.
const SINGLE_RANKS: u64 = 100;
const CLASS_WIDTH: f64 = 1.05;
/// YCSB's generator: theta, the sum of i^-theta over its 10^10 items, and what the integral of it leaves out.
const YCSB_THETA: f64 = 0.99;
const YCSB_ZETA: f64 = 26.469;
const YCSB_GAMMA: f64 = 0.578;

impl Popularity {
    /// The records of a store of `records` in classes of like popularity. O(log N).
    fn classes(self, records: u64) -> Vec<Class> {
        let n = records.max(1) as f64;
        match self {
            Popularity::Uniform => vec![(n, 1.0 / n)],
            Popularity::Hotspot { data, ops } => {
                let hot = (n * data).clamp(1.0, n);
                let cold = n - hot;
                if cold < 1.0 {
                    return vec![(n, 1.0 / n)];
                }
                vec![(hot, ops / hot), (cold, (1.0 - ops) / cold)]
            }
            Popularity::Zipf { theta } => zipf_classes(n, theta),
            Popularity::YcsbZipf => {
                // The sum of i^-theta over the first n, by the integral and half of its last term.
                let harmonic = (n.powf(1.0 - YCSB_THETA) - 1.0) / (1.0 - YCSB_THETA) + YCSB_GAMMA;
                let own = (harmonic / YCSB_ZETA).min(1.0);
                let spread = (1.0 - own) / n;
                let ranked = zipf_classes(n, YCSB_THETA).into_iter();
                ranked.map(|(count, share)| (count, share * own + spread)).collect()
            }
        }
    }

    /// D(t): how many different records `requests` touch.
    pub fn distinct(self, records: u64, requests: f64) -> f64 {
        self.classes(records).iter().map(|(count, share)| count * -(-share * requests).exp_m1()).sum()
    }

    /// The share of requests that go to a record which the `requests` before them left alone: what a buffer that
    /// remembers so many requests does not keep from what lies behind it. The derivative of D.
    pub fn fresh(self, records: u64, requests: f64) -> f64 {
        self.classes(records).iter().map(|(count, share)| count * share * (-share * requests).exp()).sum()
    }

    /// How many requests it takes to touch `wanted` different records: the inverse of D.
    pub fn requests_for(self, records: u64, wanted: f64) -> f64 {
        let classes = self.classes(records);
        let touched =
            |t: f64| -> f64 { classes.iter().map(|(count, share)| count * -(-share * t).exp_m1()).sum() };
        bisect(|t| touched(t) < wanted)
    }

    /// How many different pages `requests` touch, if each holds `per_page` records with random keys.
    pub fn distinct_pages(self, records: u64, per_page: f64, requests: f64) -> f64 {
        let classes = self.classes(records);
        let pages = records as f64 / per_page;
        pages * (1.0 - untouched(&classes, records, requests).powf(per_page))
    }

    /// The share of requests that find their page in a cache of `cached` pages that keeps what was used last.
    pub fn hit_ratio(self, records: u64, per_page: f64, cached: f64) -> f64 {
        let pages = records as f64 / per_page;
        if cached >= pages {
            return 1.0;
        }
        if cached <= 0.0 {
            return 0.0;
        }
        let classes = self.classes(records);
        let touched = |t: f64| pages * (1.0 - untouched(&classes, records, t).powf(per_page));
        // How far back the cache remembers.
        let t = bisect(|t| touched(t) < cached);
        // sum over pages of q e^(-q t) = pages c A^(c-1) mean(p e^(-p t)) are the requests that miss.
        let slope: f64 = classes.iter().map(|(count, share)| count * share * (-share * t).exp()).sum::<f64>()
            / records as f64;
        let missed = pages * per_page * untouched(&classes, records, t).powf(per_page - 1.0) * slope;
        (1.0 - missed).clamp(0.0, 1.0)
    }

    /// In words, for tables.
    pub fn words(self) -> String {
        match self {
            Popularity::Uniform => "uniform".to_owned(),
            Popularity::Zipf { theta } => format!("zipf {}", or_dash(Some(theta))),
            Popularity::YcsbZipf => "ycsb-zipf".to_owned(),
            Popularity::Hotspot { data, ops } => {
                format!("hotspot {:.0} % of requests on {:.0} % of records", ops * 100.0, data * 100.0)
            }
        }
    }
}

/// The largest number of requests for which `is_short` holds: bisection on a logarithmic scale, since it may be any.
fn bisect(is_short: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (1e-3_f64.ln(), 1e18_f64.ln());
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if is_short(middle.exp()) { low = middle } else { high = middle }
    }
    low.exp()
}

/// A(t).
fn untouched(classes: &[Class], records: u64, t: f64) -> f64 {
    classes.iter().map(|(count, share)| count * (-share * t).exp()).sum::<f64>() / records.max(1) as f64
}

fn zipf_classes(n: f64, theta: f64) -> Vec<Class> {
    // Weight of the ranks from `low` to `high`, both included, by the midpoint rule.
    let weight = |low: f64, high: f64| {
        let integral = |x: f64| {
            if (theta - 1.0).abs() < 1e-9 { x.ln() } else { x.powf(1.0 - theta) / (1.0 - theta) }
        };
        integral(high + 0.5) - integral(low - 0.5)
    };
    let mut classes: Vec<Class> = Vec::new();
    let mut rank = 1.0;
    while rank <= n {
        let is_single = rank <= SINGLE_RANKS as f64;
        let last = if is_single { rank } else { (rank * CLASS_WIDTH).floor().clamp(rank, n) };
        let count = last - rank + 1.0;
        let each = if is_single { rank.powf(-theta) } else { weight(rank, last) / count };
        classes.push((count, each));
        rank = last + 1.0;
    }
    let all: f64 = classes.iter().map(|(count, each)| count * each).sum();
    classes.iter().map(|(count, each)| (*count, each / all)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZIPF: Popularity = Popularity::Zipf { theta: 0.99 };

    fn near(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance * expected, "{found}, expected {expected}");
    }

    #[test]
    fn a_buffer_of_100_000_requests_keeps_the_known_share_of_different_records() {
        // Of a million: 0.95 uniform, 0.39 under zipf 0.99 (simulated).
        near(Popularity::Uniform.distinct(1_000_000, 1e5) / 1e5, 0.95, 0.01);
        near(ZIPF.distinct(1_000_000, 1e5) / 1e5, 0.39, 0.02);
    }

    #[test]
    fn updates_between_checkpoints_touch_the_known_share_of_33_000_leaves() {
        // 0.98, 0.86 and 0.10 pages an update for 1 k, 10 k and 333 k uniform updates.
        for (updates, share) in [(1e3, 0.98), (1e4, 0.86), (3.33e5, 0.10)] {
            near(Popularity::Uniform.distinct_pages(33_000 * 30, 30.0, updates) / updates, share, 0.02);
        }
    }

    #[test]
    fn the_top_fifth_of_a_zipf_gets_its_known_share() {
        let classes = ZIPF.classes(1_000_000);
        let all: f64 = classes.iter().map(|(count, _)| count).sum();
        near(all, 1e6, 1e-9);
        let mut seen = 0.0;
        let top: f64 = classes
            .iter()
            .take_while(|(count, _)| {
                seen += count;
                seen <= 2e5
            })
            .map(|(count, share)| count * share)
            .sum();
        near(top, 0.88, 0.01);
    }

    #[test]
    fn a_cache_of_a_tenth_of_the_records_has_the_known_hit_ratio() {
        // Simulated with least recently used: 0.77 for records, 0.53 for pages of 30.
        near(ZIPF.hit_ratio(1_000_000, 1.0, 1e5), 0.77, 0.02);
        near(ZIPF.hit_ratio(1_000_000, 30.0, 1e5 / 30.0), 0.53, 0.03);
        near(Popularity::Uniform.hit_ratio(1_000_000, 30.0, 1e5 / 30.0), 0.1, 0.02);
        assert_eq!((ZIPF.hit_ratio(100, 10.0, 10.0), ZIPF.hit_ratio(100, 10.0, 0.0)), (1.0, 0.0));
    }

    #[test]
    fn ycsb_spreads_what_lies_beyond_the_records() {
        // Of a million: the top 1 % get 0.39 and 20 % get 0.62, LRU with a tenth cached hits 0.46 (simulated).
        let classes = Popularity::YcsbZipf.classes(1_000_000);
        near(classes.iter().map(|(count, share)| count * share).sum(), 1.0, 1e-9);
        let top = |most: f64| -> f64 {
            let mut seen = 0.0;
            let hot = classes.iter().take_while(|(count, _)| {
                seen += count;
                seen <= most
            });
            hot.map(|(count, share)| count * share).sum()
        };
        // What hashes two ranks into one record makes some hotter, which the classes leave out.
        near(top(1e4), 0.39, 0.05);
        near(top(2e5), 0.62, 0.05);
        near(Popularity::YcsbZipf.hit_ratio(1_000_000, 1.0, 1e5), 0.46, 0.05);
        near(Popularity::YcsbZipf.distinct(1_000_000, 1e5) / 1e5, 0.65, 0.02);
    }

    #[test]
    fn the_derivative_and_the_inverse_are_those_of_distinct() {
        for popularity in [Popularity::Uniform, ZIPF, Popularity::YcsbZipf] {
            let slope = popularity.distinct(100_000, 50_001.0) - popularity.distinct(100_000, 49_999.0);
            near(popularity.fresh(100_000, 5e4), slope / 2.0, 1e-6);
            near(popularity.requests_for(100_000, popularity.distinct(100_000, 3e4)), 3e4, 1e-6);
        }
    }

    #[test]
    fn a_hotspot_lies_between() {
        let hot = Popularity::Hotspot { data: 0.2, ops: 0.8 };
        let hit = hot.hit_ratio(100_000, 1.0, 20_000.0);
        assert!(hit > 0.5 && hit < 0.8, "{hit}");
        near(hot.distinct(100_000, 1e9), 1e5, 1e-6);
    }
}
