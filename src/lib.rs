//! bachdist: distributed data-parallel training.

pub mod comm;
pub mod model;
pub mod optim;
pub mod train;
