//! Training and predicting through libtorch, on a GPU or on a CPU.

pub mod network;
pub mod optimizer;
pub mod random;
pub mod staged;
pub mod transfer;
