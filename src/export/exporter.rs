//! What a form in which other programs read a run has to do.

use std::time::SystemTime;

use bachdist_portable::metrics::Record;

/// One form, with the place where it is written.
pub trait Exporter: Send {
    /// Whether steps are written before something else is to be written too.
    fn writes_steps(&self) -> bool {
        true
    }

    /// Whether it shows samples of the music.
    fn shows_samples(&self) -> bool {
        false
    }

    fn record(&mut self, at: SystemTime, record: &Record);

    /// Composes and shows a sample of the network with these parameters.
    fn sample(&mut self, _at: SystemTime, _sample: &SampleJob) -> Result<(), ExportError> {
        Ok(())
    }

    /// Writes what has changed. After an error it is called again, with more to write.
    fn write(&mut self) -> Result<(), ExportError>;

    /// Writes for the last time. `in_order` is false if the run ends by an error, most often the storage's.
    fn end(&mut self, in_order: bool) -> Result<(), ExportError>;
}

/// A network in the middle of its training.
pub struct SampleJob {
    pub step: u64,
    /// A copy, laid out as [`Architecture::parameters`](bachdist_portable::network::Architecture::parameters) says.
    pub parameters: Vec<f32>,
}

/// Something could not be written.
pub struct ExportError {
    /// Equal for errors that are one and the same to the user: a message may also have times and counts.
    pub reason: String,
    pub message: String,
}
