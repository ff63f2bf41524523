//! Which windows a rank reads for a batch, and how they become rows of its lanes. All of it is arithmetic on the step, so
//! any rank finds its part of any step without asking another.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use bachdist_portable::backend::{BatchSource, StepBatch};
use bachdist_portable::config::{Config, LossPositions};
use bachdist_portable::corpus::Piece;
use bachdist_portable::corpus::streams::{Span, StreamRows};
use bachdist_portable::corpus::windows::{Window, Windows, read_transposed};
use bachdist_portable::fault::{self, FaultPoint};
use bachdist_portable::network::batch::{LaneBatch, StreamPurpose, StreamSpan};
use bachdist_portable::network::dropout::Dropout;
use bachdist_portable::random::{Purpose, RandomStream};
use bachdist_portable::representation::{Representation, Token};
use bachdist_portable::schedule::{Batch, Batches, EpochOrder, Sequences, Streams, WindowAudit};

/// Loads a rank's lanes.
pub struct BatchLoader<'a> {
    config: &'a Config,
    representation: Arc<dyn Representation>,
    sequences: Sequences<'a>,
    /// How the windows become batches.
    pub batches: Batches,
    /// The rank's lanes.
    lanes: Range<usize>,
    /// What streams read in the epoch that was asked for last.
    epoch: Mutex<Option<(u64, Arc<StreamRows>)>>,
}

impl BatchSource for BatchLoader<'_> {
    fn batch(&self, step: u64) -> StepBatch {
        let Config { model, train, .. } = self.config;
        let batch = self.batches.batch(step);
        let (lanes, audits) = match &self.sequences {
            Sequences::Windows(windows) => self.batch_of_windows(windows, &batch),
            Sequences::Streams(streams) => self.batch_of_streams(streams, &batch),
        };
        StepBatch {
            step,
            lanes,
            dropout: Dropout {
                rate: model.dropout,
                input_rate: model.input_dropout,
                seed: train.seed,
                step,
                member: 0,
            },
            audits,
        }
    }
}

impl<'a> BatchLoader<'a> {
    /// Loads these lanes of the batches that the configuration makes of these pieces.
    pub fn new(config: &'a Config, pieces: &'a [Piece], lanes: Range<usize>) -> Self {
        let sequences = Sequences::of_training(config, pieces);
        let batches = Batches::new(sequences.windows(), &config.train);
        let representation = config.representation.build();
        BatchLoader { config, representation, sequences, batches, lanes, epoch: Mutex::default() }
    }

    /// The windows of a step's lane, as a person finds them: `piece.mid:17` begins with the piece's token 17, from 0.
    pub fn names_of_windows(&self, step: u64, lane: usize) -> Vec<String> {
        let batch = self.batches.batch(step);
        match &self.sequences {
            Sequences::Windows(windows) => {
                let of_lane = self.windows_of(windows, &batch, lane);
                let name = |window: Window<'_>| format!("{}:{}", windows.piece(&window).name, window.at);
                of_lane.into_iter().map(name).collect()
            }
            Sequences::Streams(streams) => {
                let rows = self.rows_of_epoch(streams, batch.epoch);
                let spans = self.rows(&batch, lane).flat_map(|row| rows.window(row, batch.window_of_row()));
                spans.map(|span| format!("{}:{}", streams.piece(span.piece).name, span.from)).collect()
            }
        }
    }

    /// The rank's lanes of a batch that is validated on, in the order of the pieces.
    pub fn load_in_order(&self, held_out: &Sequences<'_>, batch: &Batch) -> Vec<LaneBatch> {
        let batches = Batches { windows: held_out.windows(), ..self.batches };
        let mut lanes = Vec::new();
        for lane in self.lanes.clone() {
            let rows = self.rows(batch, lane);
            match held_out {
                Sequences::Windows(windows) => {
                    let of_lane: Vec<_> =
                        rows.map(|row| windows.get(batch.first + row as u64).tokens).collect();
                    lanes.push(self.padded(batches, lane, windows.length(), LossPositions::Last, &of_lane));
                }
                Sequences::Streams(streams) => {
                    let all = streams.rows_of_epoch(self.config.train.seed, batch.epoch);
                    let mut of_lane = Vec::new();
                    for row in rows {
                        let spans = all.window(row, batch.window_of_row()).into_iter();
                        let tokens = spans.map(|span| (span, &streams.piece(span.piece).tokens));
                        of_lane.push(tokens.collect());
                    }
                    let length = streams.length();
                    lanes.push(self.stream_lane(batches, lane, length, StreamPurpose::Evaluation, &of_lane));
                }
            }
        }
        lanes
    }

    /// Each member's lanes, and the audit of each lane.
    fn batch_of_windows(
        &self,
        windows: &Windows<'a>,
        batch: &Batch,
    ) -> (Vec<Vec<LaneBatch>>, Vec<WindowAudit>) {
        let (mut read, mut audits) = (Vec::new(), Vec::new());
        for lane in self.lanes.clone() {
            let (of_lane, audit) = self.read_lane(windows, batch, lane);
            read.push(of_lane);
            audits.push(audit);
        }
        let members = 0..self.config.model.ensemble_size as u64;
        let length = windows.length();
        (members.map(|member| self.lanes_of_member(batch, &read, length, member)).collect(), audits)
    }

    /// The same, where rows are streams. Each member transposes every piece for itself, anew in each epoch.
    fn batch_of_streams(
        &self,
        streams: &Streams<'a>,
        batch: &Batch,
    ) -> (Vec<Vec<LaneBatch>>, Vec<WindowAudit>) {
        let train = &self.config.train;
        let all = self.rows_of_epoch(streams, batch.epoch);
        let (mut spans, mut audits) = (Vec::new(), Vec::new());
        for lane in self.lanes.clone() {
            let mut audit = WindowAudit::default();
            let mut of_lane = Vec::new();
            for row in self.rows(batch, lane) {
                let of_row = all.window(row, batch.window_of_row());
                audit.record_stream(batch.epoch, row, &of_row);
                of_lane.push(of_row);
            }
            if fault::at(FaultPoint::Load) && of_lane.len() > 1 {
                of_lane[1] = of_lane[0].clone();
            }
            spans.push(of_lane);
            audits.push(audit);
        }
        let mut members = Vec::new();
        for member in 0..self.config.model.ensemble_size as u64 {
            let random = RandomStream::new(train.seed, Purpose::Transposition, &[batch.epoch, member]);
            let mut lanes = Vec::new();
            for (lane, spans) in self.lanes.clone().zip(&spans) {
                let mut of_lane = Vec::new();
                for of_row in spans {
                    let mut transposed = Vec::new();
                    for span in of_row {
                        let tokens = &streams.piece(span.piece).tokens;
                        let random = random.of(span.piece as u64).bits(0);
                        let mut moved = Vec::new();
                        read_transposed(&*self.representation, tokens, train.transpose, random, &mut moved);
                        transposed.push((*span, moved));
                    }
                    of_lane.push(transposed);
                }
                let length = streams.length();
                lanes.push(self.stream_lane(self.batches, lane, length, StreamPurpose::Training, &of_lane));
            }
            members.push(lanes);
        }
        (members, audits)
    }

    fn rows_of_epoch(&self, streams: &Streams<'_>, epoch: u64) -> Arc<StreamRows> {
        let mut cached = self.epoch.lock().expect("nothing panics while it is held");
        match &*cached {
            Some((of, rows)) if *of == epoch => rows.clone(),
            _ => {
                let rows = streams.rows_of_epoch(self.config.train.seed, epoch);
                *cached = Some((epoch, rows.clone()));
                rows
            }
        }
    }

    /// Reads the windows of a lane, and records them.
    fn read_lane(&self, windows: &Windows<'a>, batch: &Batch, lane: usize) -> (Vec<Window<'a>>, WindowAudit) {
        let mut windows = self.windows_of(windows, batch, lane);
        if fault::at(FaultPoint::Load) && windows.len() > 1 {
            windows[1] = windows[0];
        }
        let mut audit = WindowAudit::default();
        for window in &windows {
            audit.record(batch.epoch, window);
        }
        (windows, audit)
    }

    /// The windows of a lane, in the order of the epoch.
    fn windows_of(&self, windows: &Windows<'a>, batch: &Batch, lane: usize) -> Vec<Window<'a>> {
        let order = EpochOrder::new(self.config.train.seed, batch.epoch, self.batches.windows);
        let rows = self.rows(batch, lane);
        rows.map(|row| windows.get(order.window(batch.first + row as u64))).collect()
    }

    /// The rows of a lane that are windows.
    fn rows(&self, batch: &Batch, lane: usize) -> Range<usize> {
        let rows = self.batches.rows(lane);
        rows.start..rows.end.min(batch.windows)
    }

    /// The rank's lanes for one ensemble member: each member transposes the windows for itself.
    fn lanes_of_member(
        &self,
        batch: &Batch,
        lanes: &[Vec<Window<'_>>],
        length: usize,
        member: u64,
    ) -> Vec<LaneBatch> {
        let train = &self.config.train;
        let random = RandomStream::new(train.seed, Purpose::Transposition, &[batch.epoch, member]);
        let mut loaded = Vec::new();
        for (lane, windows) in self.lanes.clone().zip(lanes) {
            let mut transposed = vec![Vec::new(); windows.len()];
            for (window, tokens) in windows.iter().zip(&mut transposed) {
                let random = random.of(window.piece as u64).bits(window.at as u64);
                read_transposed(&*self.representation, window.tokens, train.transpose, random, tokens);
            }
            let windows: Vec<&[Token]> = transposed.iter().map(Vec::as_slice).collect();
            loaded.push(self.padded(self.batches, lane, length, train.loss_positions, &windows));
        }
        loaded
    }

    fn padded(
        &self,
        batches: Batches,
        lane: usize,
        length: usize,
        loss_positions: LossPositions,
        windows: &[&[Token]],
    ) -> LaneBatch {
        let (first_row, rows) = (batches.rows(lane).start, batches.padded_rows());
        LaneBatch::new(&*self.representation, first_row, rows, length, loss_positions, windows)
    }

    /// A lane of streams, from what each row reads: parts of pieces, each with all tokens of its piece.
    fn stream_lane(
        &self,
        batches: Batches,
        lane: usize,
        length: usize,
        purpose: StreamPurpose,
        streams: &[Vec<(Span, impl AsRef<[Token]>)>],
    ) -> LaneBatch {
        let (first_row, rows) = (batches.rows(lane).start, batches.padded_rows());
        let mut read = Vec::new();
        for of_row in streams {
            let spans = of_row.iter().map(|(Span { from, to, resets, .. }, tokens)| StreamSpan {
                tokens: tokens.as_ref(),
                from: *from,
                to: *to,
                resets: *resets,
            });
            read.push(spans.collect());
        }
        LaneBatch::of_streams(&*self.representation, first_row, rows, length, purpose, &read)
    }
}
