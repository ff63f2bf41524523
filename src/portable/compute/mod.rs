//! Arithmetic of the network on a CPU: matrices, GEMM, sums over lanes, functions, the LSTM cell.
//!
//! Every number is made by one fixed order of fused multiply-adds, additions, products, quotients and roots, which
//! every processor rounds alike, and by nothing else: no library's exponential, no sum whose order depends on the
//! width of a vector. So a row has the same bits whatever rows stand beside it, on any number of threads, and on any
//! processor: AVX-512, AVX2, NEON or none of them. Which instructions are used is decided at run time, once for each
//! call of [`vectorized`](crate::parallel::vectorized) or of a GEMM.

pub mod functions;
pub mod gemm;
pub mod matrix;
pub mod one_hot;
#[cfg(test)]
mod tests;
pub mod weight_gradient;

/// The most columns of a tile of a GEMM. Rows and weights are padded with zeros to a multiple of it.
pub const PANEL: usize = 32;
