//! How results are shown and kept: the result file (`result.rs`), the terminal summary (`table.rs`), and the page
//! (`html.rs`) with its scorecard (`scorecard.rs`), figures (`charts.rs`, `bars.rs`, `percentiles.rs`, `rum.rs`, `offered.rs`,
//! `shape.rs`, drawn by `svg.rs`) and maps (`heat.rs`); whether engines may be compared (`equal.rs`); what can be
//! believed (`trusted.rs`) and what to beware of (`warnings.rs`); what theory says of the numbers (`theory.rs`); claims
//! (`claims.rs`); what `cargo bench` adds (`criterion.rs`).

pub mod bars;
pub mod charts;
pub mod claims;
pub mod criterion;
pub mod equal;
pub mod heat;
pub mod html;
pub mod loops;
pub mod offered;
pub mod percentiles;
pub mod ratios;
pub mod result;
pub mod rum;
pub mod scorecard;
pub mod shape;
pub mod svg;
pub mod table;
pub mod theory;
pub mod trusted;
pub mod warnings;

pub use result::ResultFile;
