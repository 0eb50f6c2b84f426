//! Whether what threads saw of one register could have happened one operation after another, each between its call and
//! its return: Wing and Gong, "Testing and Verifying Concurrent Objects", JPDC 17 (1993), with the states that were tried
//! remembered (Lowe, "Testing for linearizability", 2017). Keys are registers that do not touch each other, so a history
//! of many keys is as good as that of each key by itself (Herlihy and Wing, TOPLAS 12(3), 1990: locality).

use std::collections::HashSet;

/// What a register holds: a value that one write alone wrote, or nothing.
pub type Content = Option<u64>;

/// What an operation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The register holds this from now on.
    Write(Content),
    /// It held this.
    Read(Content),
}

/// One operation on one register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// When it was called, in nanoseconds since the history began.
    pub start_ns: u64,
    /// When it returned.
    pub end_ns: u64,
    /// What it did.
    pub what: What,
}

/// True if there is an order of `ops`, on a register that holds nothing at first, in which every read sees the write
/// before it and nothing comes after what began when it had ended. Sorts `ops` by their beginnings. The time grows with
/// what ran at once, not with the length of the history.
pub fn is_linearizable(ops: &mut [Op]) -> bool {
    ops.sort_by_key(|op| op.start_ns);
    let done = vec![0; ops.len().div_ceil(64)];
    Search { ops, done, left: ops.len(), tried: HashSet::new() }.goes_on(None)
}

struct Search<'a> {
    ops: &'a [Op],
    /// One bit for each operation that has its place.
    done: Vec<u64>,
    left: usize,
    tried: HashSet<(Vec<u64>, Content)>,
}

impl Search<'_> {
    fn is_done(&self, index: usize) -> bool {
        self.done[index / 64] >> (index % 64) & 1 == 1
    }

    fn flip(&mut self, index: usize) {
        self.done[index / 64] ^= 1 << (index % 64);
    }

    /// True if the rest can be ordered when the register holds `content`.
    fn goes_on(&mut self, content: Content) -> bool {
        if self.left == 0 {
            return true;
        }
        if !self.tried.insert((self.done.clone(), content)) {
            return false;
        }
        let open: Vec<usize> = (0..self.ops.len()).filter(|index| !self.is_done(*index)).collect();
        let first_end = open.iter().map(|index| self.ops[*index].end_ns).min().unwrap_or(u64::MAX);
        let next: Vec<usize> =
            open.into_iter().take_while(|index| self.ops[*index].start_ns <= first_end).collect();
        // A read that fits changes nothing, so it may as well come now.
        let read = next.iter().find(|index| self.ops[**index].what == What::Read(content));
        if let Some(index) = read {
            return self.with(*index, content);
        }
        next.into_iter().any(|index| match self.ops[index].what {
            What::Write(written) => self.with(index, written),
            What::Read(_) => false,
        })
    }

    fn with(&mut self, index: usize, content: Content) -> bool {
        self.flip(index);
        self.left -= 1;
        let is_found = self.goes_on(content);
        self.flip(index);
        self.left += 1;
        is_found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(start_ns: u64, end_ns: u64, what: What) -> Op {
        Op { start_ns, end_ns, what }
    }

    #[test]
    fn what_can_have_happened_is_told_from_what_cannot() {
        use What::{Read, Write};
        let cases = [
            ("nothing", true, vec![]),
            ("one after another", true, vec![op(0, 1, Write(Some(1))), op(2, 3, Read(Some(1)))]),
            ("a read beside a write may miss it", true, vec![op(0, 9, Write(Some(1))), op(2, 3, Read(None))]),
            ("a stale read", false, vec![op(0, 1, Write(Some(1))), op(2, 3, Read(None))]),
            ("a value nobody wrote", false, vec![op(0, 1, Write(Some(1))), op(2, 3, Read(Some(2)))]),
            (
                "a write that came undone",
                false,
                vec![op(0, 9, Write(Some(1))), op(1, 2, Read(Some(1))), op(3, 4, Read(None))],
            ),
            (
                "two readers who saw two writes in two orders",
                false,
                vec![
                    op(0, 9, Write(Some(1))),
                    op(0, 9, Write(Some(2))),
                    op(1, 2, Read(Some(1))),
                    op(3, 4, Read(Some(2))),
                    op(5, 6, Read(Some(1))),
                ],
            ),
            (
                "the same in one order",
                true,
                vec![
                    op(0, 9, Write(Some(1))),
                    op(0, 9, Write(Some(2))),
                    op(0, 9, Write(None)),
                    op(1, 2, Read(Some(2))),
                    op(3, 4, Read(Some(1))),
                    op(5, 6, Read(None)),
                ],
            ),
        ];
        for (name, expected, mut ops) in cases {
            assert_eq!(is_linearizable(&mut ops), expected, "{name}");
        }
    }

    #[test]
    fn a_long_history_of_eight_at_once_is_judged_soon_and_one_wrong_read_in_it_is_found() {
        let mut ops = Vec::new();
        for round in 0..60 {
            let from = round * 100;
            ops.extend((0..8).map(|n| op(from + n, from + 50 + n, What::Write(Some(round * 8 + n)))));
            ops.push(op(from + 60, from + 61, What::Read(Some(round * 8 + 3))));
        }
        assert!(is_linearizable(&mut ops.clone()));
        let last = ops.last_mut().unwrap();
        last.what = What::Read(Some(3));
        assert!(!is_linearizable(&mut ops));
    }
}
