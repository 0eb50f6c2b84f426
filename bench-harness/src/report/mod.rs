//! How results are shown and kept: the result file (`result.rs`), the terminal summary (`table.rs`), and the page
//! (`html.rs`) with its charts (`svg.rs`).

pub mod result;
pub mod table;

pub use result::ResultFile;
