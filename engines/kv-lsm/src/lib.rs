//! A leveled log-structured merge tree
