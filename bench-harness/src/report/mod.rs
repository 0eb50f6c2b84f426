//! How results are shown and kept: the result file (`result.rs`), the terminal summary (`table.rs`), and the page
//! (`html.rs`) with its figures (`charts.rs`, `svg.rs`); whether engines may be compared (`equal.rs`); what can be
//! believed (`trusted.rs`) and what to beware of (`warnings.rs`); what theory says of the numbers (`theory.rs`); claims
//! (`claims.rs`).

pub mod charts;
pub mod claims;
pub mod equal;
pub mod html;
pub mod loops;
pub mod ratios;
pub mod result;
pub mod svg;
pub mod table;
pub mod theory;
pub mod trusted;
pub mod warnings;

pub use result::ResultFile;
