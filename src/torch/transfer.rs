//! The way between the host's memory and a device's. What crosses lies in pinned memory, which a GPU reads and writes
//! by itself, so that neither direction waits; only [`fetch`] waits, once for all that it brings. Errors of earlier work on
//! the device come out there.
//!
//! libtorch keeps the pinned memory that was given back, and hands it out again when the copies from it are done: a
//! run pins what one step needs. On the CPU device, where tests run this, nothing is pinned and nothing waits.

#![allow(unsafe_code)]

use anyhow::Result;
use tch::{Device, Kind, Tensor};

/// Puts numbers on a device, without waiting for the copy.
pub fn upload(numbers: &[i64], device: Device) -> Result<Tensor> {
    Ok(pinned(Tensor::f_from_slice(numbers)?, device)?.f_to_device_(device, Kind::Int64, true, false)?)
}

/// The same for numbers of a network.
pub fn upload_floats(numbers: &[f32], device: Device) -> Result<Tensor> {
    Ok(pinned(Tensor::f_from_slice(numbers)?, device)?.f_to_device_(device, Kind::Float, true, false)?)
}

fn pinned(tensor: Tensor, device: Device) -> Result<Tensor> {
    match device {
        // Not `pin_memory`, which warns at each call of an argument that tch cannot leave out.
        Device::Cuda(_) => Ok(tensor.f_internal_pin_memory(device)?),
        _ => Ok(tensor),
    }
}

/// Brings numbers (f64) to the host. Waits until the device has done all that it was given: its queue has one order.
pub fn fetch(report: &Tensor) -> Result<Vec<f64>> {
    // Not tch's `Cuda::synchronize`, which panics if the device's work has failed.
    Ok(Vec::try_from(&report.f_to_device_(Device::Cpu, Kind::Double, false, true)?)?)
}

/// Numbers of a network in the host's memory; pinned, if they come from a GPU.
pub struct HostBuffer(Tensor);

impl HostBuffer {
    /// A copy of a tensor, which is complete when this returns.
    pub fn fetch(tensor: &Tensor) -> Result<Self> {
        // A copy that is not waited for goes into pinned memory, which is much faster.
        let copy = tensor.f_to_device_(Device::Cpu, Kind::Float, true, true)?;
        super::cuda::wait(tensor.device())?;
        let copy = copy.f_contiguous()?;
        assert_eq!((copy.device(), copy.kind()), (Device::Cpu, Kind::Float));
        Ok(HostBuffer(copy))
    }

    /// The numbers.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        if self.0.numel() == 0 {
            return &mut [];
        }
        // SAFETY: the tensor is contiguous, of f32 and in the host's memory (ensured by `fetch`, and never changed), so
        // `numel` initialized numbers lie at its address, which is not null because there are some. `self` is its only
        // handle: `fetch` makes a copy of its own, which no graph holds and which is complete when it returns, and
        // `send` takes `self` along, so while this borrow lives no device reads or writes there.
        unsafe { std::slice::from_raw_parts_mut(self.0.data_ptr().cast::<f32>(), self.0.numel()) }
    }

    /// Puts them on a device, without waiting for the copy. The memory is not used again before that is done.
    pub fn send(self, device: Device) -> Result<Tensor> {
        Ok(self.0.f_to_device_(device, Kind::Float, true, false)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetched_tensor_is_a_copy_that_can_be_changed_and_sent_back() {
        let gradient = Tensor::from_slice(&[1f32, 2.0, 3.0]);
        let report = fetch(&Tensor::from_slice(&[0.1, f64::NAN])).unwrap();
        assert_eq!(report[0], 0.1);
        assert!(report[1].is_nan());
        let mut host = HostBuffer::fetch(&gradient).unwrap();
        assert_eq!(host.as_mut_slice(), [1.0, 2.0, 3.0]);
        host.as_mut_slice()[1] = 5.0;
        assert_eq!(Vec::<f32>::try_from(&gradient).unwrap(), [1.0, 2.0, 3.0]);
        let back = host.send(Device::Cpu).unwrap();
        assert_eq!(Vec::<f32>::try_from(&back).unwrap(), [1.0, 5.0, 3.0]);
    }
}
