//! A bench's report for people, on 80 columns.

use std::fmt;

use super::ceilings::Copy;
use super::exchange::Measured;
use super::fit::Line;
use super::music::Reading;
use super::peak::Peak;
use super::report::{Ceilings, Exchange, Machine, Phases, Products, Report, Run, Step, Version};
use bachdist_core::print::count;
use indicatif::HumanCount;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        self.ceilings(f)?;
        self.step(f)?;
        let Reading { files, bytes_per_second, notes_per_second, .. } = &self.reading;
        let (bytes, notes) = (rate(*bytes_per_second, "B"), HumanCount(*notes_per_second as u64).to_string());
        let files = count(*files as u64, "file");
        row(f, "reading", &format!("{bytes}, {notes} notes/s a core, of {files} of MIDI"))?;
        let notes = HumanCount(self.composing.notes_per_second as u64).to_string();
        write!(f, "{:<13}{notes} notes/s, one piece", "composing")
    }
}

impl Report {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Version { version, commit } = self.bachdist;
        let commit = commit.map_or(String::new(), |commit| format!(" ({commit})"));
        let Machine { cpu, cores, host } = &self.machine;
        let Run { ranks, threads, device, rounds, steps, parameters } = &self.run;
        let (ranks, threads) = (count(*ranks as u64, "rank"), count(*threads as u64, "thread"));
        row(f, "bachdist", &format!("{version}{commit}; {ranks} of {threads}, {device}"))?;
        row(f, "machine", &format!("{cpu}, {} of {host}", count(*cores as u64, "core")))?;
        let train = &self.config.train;
        let (lanes, parameters) =
            (count(train.lanes as u64, "lane"), HumanCount(*parameters as u64).to_string());
        let notes = self.config.training_length();
        let batch = train.batch_size;
        let run = format!("batch of {batch} in {lanes}, windows of {notes} notes, {parameters} weights");
        row(f, "run", &run)?;
        let (rounds, steps) = (count(*rounds, "round"), count(*steps, "step"));
        row(f, "measured", &format!("in {rounds} of {steps}, in turns with their products alone"))
    }

    fn ceilings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ceilings { multiply_add, products, memory_copy } = &self.ceilings;
        writeln!(f, "\nceilings, on all ranks at once")?;
        if let Some(Peak { instructions, flops_per_second }) = multiply_add {
            line(f, "multiply-add", &rate(*flops_per_second, "FLOP"), &format!("one core, {instructions}"))?;
        }
        let Products { flops, seconds, flops_per_second, windows_per_second, .. } = products;
        let libtorch = products.libtorch_flops_per_second;
        let windows = HumanCount(windows_per_second.round() as u64).to_string();
        let work = format!("{:.2} GFLOP a step: {}, {windows} windows/s", flops / 1e9, time(*seconds));
        line(f, "products", &rate(*flops_per_second, "FLOP"), &work)?;
        // On a GPU the line above is libtorch's.
        let note =
            if multiply_add.is_some() { "the same products" } else { "in f32; the step's layers take TF32" };
        line(f, "by libtorch", &rate(libtorch, "FLOP"), note)?;
        for Copy { bytes, seconds, bytes_per_second } in [&memory_copy.large, &memory_copy.parameters] {
            let what = format!("{}: {}", size(*bytes), time(*seconds));
            line(f, "memory copy", &rate(*bytes_per_second, "B"), &what)?;
        }
        if let Some(Exchange { collectives, .. }) = &self.exchange {
            let Measured { line: fit, bytes, gradient_seconds, .. } = collectives;
            let Line { alpha_seconds, seconds_per_byte, relative_residual } = fit;
            let (alpha, off) = (time(*alpha_seconds), 100.0 * relative_residual);
            let (bytes, seconds) = (size(*bytes), time(*gradient_seconds));
            let what = format!("{alpha} + bytes/speed ±{off:.0}%; {bytes}: {seconds}");
            line(f, "exchange", &rate(1.0 / seconds_per_byte, "B"), &what)?;
        }
        Ok(())
    }

    fn step(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { seconds, windows_per_second, percent_of_ceiling, phases, checkpoint_copy, .. } =
            &self.step;
        let Phases { weights, data, forward, backward, exchange, update } = phases;
        let part = |f: &mut fmt::Formatter<'_>, name: &str, part: f64, note: &str| {
            let line = format!("  {name:<11}{:>9} {:>6.1}%  {note}", time(part), 100.0 * part / seconds);
            writeln!(f, "{}", line.trim_end())
        };
        writeln!(f, "\nstep, on rank 0")?;
        part(f, "weights", *weights, "to where the model has them")?;
        part(f, "data", *data, "")?;
        part(f, "forward", *forward, "by itself, without dropout")?;
        part(f, "backward", *backward, "the gradient less that")?;
        part(f, "exchange", *exchange, "with the wait for the slowest rank")?;
        part(f, "update", *update, "")?;
        let windows = HumanCount(windows_per_second.round() as u64).to_string();
        let of_ceiling =
            percent_of_ceiling.map(|percent| format!(", {percent:.0}% of the products' ceiling"));
        let speed = format!("{windows} windows/s{}", of_ceiling.unwrap_or_default());
        part(f, "in all", *seconds, &speed)?;
        writeln!(f)?;
        if let Some(Exchange { seconds, percent_of_step, .. }) = &self.exchange {
            let ranks = self.run.ranks;
            let what = format!("the step on {ranks} ranks less that of each alone");
            row(f, "exchange", &format!("{} ({percent_of_step:.1}%): {what}", time(*seconds)))?;
        }
        let every = count(self.config.checkpoint.every_steps, "step");
        row(f, "checkpoint", &format!("{} for the copy, once in {every}", time(*checkpoint_copy)))
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, text: &str) -> fmt::Result {
    writeln!(f, "{name:<13}{text}")
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, figure: &str, note: &str) -> fmt::Result {
    writeln!(f, "  {name:<13}{figure:>13}  {note}")
}

/// Milliseconds or microseconds.
fn time(seconds: f64) -> String {
    match seconds.abs() {
        1e-3.. => format!("{:.1} ms", 1e3 * seconds),
        _ => format!("{:.1} µs", 1e6 * seconds),
    }
}

fn rate(per_second: f64, unit: &str) -> String {
    match per_second {
        1e9.. => format!("{:.1} G{unit}/s", per_second / 1e9),
        _ => format!("{:.1} M{unit}/s", per_second / 1e6),
    }
}

fn size(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
