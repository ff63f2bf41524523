//! Exit codes and messages of errors, including those of libtorch, which the library crate does not know. libtorch's own
//! messages are 10 to 30 lines of C++ frames and advice for its developers.

use anyhow::Error;
use bachdist_portable::exit;
use bachdist_portable::failure::{self, ExitCode};
use tch::TchError;

/// The exit code of an error.
pub fn code_of(error: &Error) -> ExitCode {
    match exit::code_of(error) {
        // The configuration asks for a network or batch that does not fit into memory.
        ExitCode::Internal if of_libtorch(error).any(|error| is_out_of_memory(&error.to_string())) => {
            ExitCode::Usage
        }
        code => code,
    }
}

/// The chain of an error on one line, each cause once.
pub fn line_of(error: &Error) -> String {
    of_libtorch(error).fold(failure::line_of(error), |line, error| {
        let text = error.to_string();
        line.replace(&text, &one_line(&text))
    })
}

fn of_libtorch(error: &Error) -> impl Iterator<Item = &TchError> {
    error.chain().filter_map(|cause| cause.downcast_ref())
}

/// How libtorch reports that memory is exhausted: its own allocators, CUDA, cuBLAS and cuDNN.
const OUT_OF_MEMORY: [&str; 5] = [
    "out of memory",
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "ALLOCATION_FAILED",
];

fn is_out_of_memory(text: &str) -> bool {
    OUT_OF_MEMORY.iter().any(|words| text.contains(words))
}

/// libtorch's message in one line, with a hint if there is one.
fn one_line(text: &str) -> String {
    // Beginnings of lines for people who debug libtorch, and of such advice within a line.
    const NOISE: [&str; 5] = [
        "CUDA kernel errors might be asynchronously reported",
        "For debugging consider passing",
        "Compile with `TORCH_USE_CUDA_DSA`",
        "Device-side assertions",
        "Search for `cuda",
    ];
    const ADVICE: [&str; 2] =
        [" If reserved but unallocated memory is large", " This could be because the operator"];
    let text = text.strip_prefix("Internal torch error: ").unwrap_or(text);
    let text = text.split("\nException raised from").next().unwrap_or_default();
    // After a blank line come lists of what is available.
    let text = text.trim_start().split("\n\n").next().unwrap_or_default();
    let lines = text.lines().map(|line| {
        let end = ADVICE.iter().filter_map(|advice| line.find(advice)).min().unwrap_or(line.len());
        line[..end].trim()
    });
    let lines = lines.filter(|line| !line.is_empty() && !NOISE.iter().any(|noise| line.starts_with(noise)));
    let what = lines.collect::<Vec<_>>().join(" ");
    if is_out_of_memory(&what) {
        let what = what.trim_end_matches('.');
        return format!("libtorch: {what}; lower train.batch_size, or start fewer ranks per GPU");
    }
    if what.contains("CUDA error") || what.contains("cuDNN error") {
        let what = what.trim_end_matches('.');
        return format!(
            "libtorch: {what}; dmesg has the driver's message, and with CUDA_LAUNCH_BLOCKING=1 the call at fault reports it"
        );
    }
    format!("libtorch: {what}")
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use tch::{Device, Kind, Tensor};

    use super::*;

    fn torch(text: &str) -> Error {
        Error::new(TchError::Torch(text.into()))
    }

    #[test]
    fn a_real_error_of_libtorch_is_one_line() {
        let [a, b] = [[2, 3], [4, 5]].map(|shape| Tensor::zeros(shape, (Kind::Float, Device::Cpu)));
        let error = a.f_mm(&b).unwrap_err();
        assert!(error.to_string().lines().count() > 3, "{error}");
        let error = Err::<(), _>(error).context("step 7").unwrap_err();
        assert_eq!(
            line_of(&error),
            "step 7: libtorch: mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"
        );
        assert_eq!(code_of(&error), ExitCode::Internal);
    }

    #[test]
    fn exhausted_host_memory() {
        let error = Tensor::f_zeros([1 << 50], (Kind::Float, Device::Cpu)).unwrap_err();
        let error = Error::new(error);
        let line = line_of(&error);
        assert!(line.starts_with("libtorch: ") && line.contains("can't allocate memory"), "{line}");
        assert!(line.ends_with("lower train.batch_size, or start fewer ranks per GPU"), "{line}");
        assert_eq!((line.lines().count(), code_of(&error)), (1, ExitCode::Usage));
    }

    #[test]
    fn a_missing_cuda_device() {
        let error = Error::new(Tensor::f_zeros([1], (Kind::Float, Device::Cuda(100))).unwrap_err());
        let line = line_of(&error);
        assert!(line.starts_with("libtorch: "), "{line}");
        assert!(line.lines().count() == 1 && line.len() < 300 && !line.contains("frame #"), "{line}");
    }

    /// Texts of torch 2.11, with some of the frames.
    #[test]
    fn messages_of_cuda() {
        const FRAMES: &str = "\nException raised from malloc at /pytorch/c10/cuda/CUDACachingAllocator.cpp:1573 (most \
                              recent call first):\nframe #0: c10::Error::Error(c10::SourceLocation, std::string) + 0x80 \
                              (0x7f in libc10.so)\nframe #1: <unknown function> + 0x1 (0x7f in libc10_cuda.so)\n";
        let memory = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which \
                      1.00 GiB is free. Of the allocated memory 77.00 GiB is allocated by PyTorch, and 2.00 MiB is \
                      reserved by PyTorch but unallocated.";
        let advice = " If reserved but unallocated memory is large try setting \
                      PYTORCH_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation for Memory \
                      Management  (https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)";
        let error = torch(&format!("{memory}{advice}{FRAMES}"));
        let less = "; lower train.batch_size, or start fewer ranks per GPU";
        assert_eq!(line_of(&error), format!("libtorch: {}{less}", memory.trim_end_matches('.')));
        assert_eq!(code_of(&error), ExitCode::Usage);
        for text in [
            "CUDA error: out of memory",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        ] {
            let error = torch(&format!("{text}{FRAMES}"));
            assert_eq!(line_of(&error), format!("libtorch: {text}{less}"));
            assert_eq!(code_of(&error), ExitCode::Usage);
        }

        let text = "CUDA error: an illegal memory access was encountered\nSearch for `cudaErrorIllegalAddress' in \
                    https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html for more information.\nCUDA \
                    kernel errors might be asynchronously reported at some other API call, so the stacktrace below might \
                    be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\nCompile with \
                    `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n";
        let error = torch(&format!("{text}{FRAMES}")).context("step 3");
        let line = line_of(&error);
        assert!(
            line.starts_with(
                "step 3: libtorch: CUDA error: an illegal memory access was encountered; dmesg "
            ),
            "{line}"
        );
        assert!(!line.contains("stacktrace") && line.lines().count() == 1, "{line}");
        assert_eq!(code_of(&error), ExitCode::Internal);
        assert!(line_of(&torch("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")).contains("; dmesg "));
    }
}
