//! bachdist
