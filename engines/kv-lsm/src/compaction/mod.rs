//! Compaction: merging tables downward, so that reads stay short and dead versions go.
//!
//! [`picker`] decides what to merge, a pure function over a [`crate::version::Version`]; [`job`] does it, and
//! [`gc`] says which versions stay. Leveled compaction is the one policy so far; `Tiered` and `LazyLeveled` will be
//! further choices inside the picker.

pub mod gc;
pub mod job;
pub mod manual;
pub mod picker;

/// Tables to merge, and where to.
#[derive(Debug, Clone)]
pub struct CompactionTask<T> {
    /// Level of the upper tables.
    pub from: usize,
    /// Level of the lower tables and of the output.
    pub to: usize,
    /// Tables of `from`: newest first if it is level 0, else in key order.
    pub upper: Vec<T>,
    /// Tables of `to` that overlap them, in key order; none if `from` is `to`.
    pub lower: Vec<T>,
    /// The one upper table can be listed a level deeper without being rewritten.
    pub is_move: bool,
}
