//! Pieces of any origin on a page that plays them.

use std::path::Path;

use anyhow::Result;
use bachdist_portable::corpus::files::{self, Music};
use bachdist_portable::failure::{ExitCode, Failure};
use bachdist_portable::location;
use bachdist_portable::midi::grid::NoteValue;
use bachdist_portable::midi::{self, Instrument, Note};
use bachdist_portable::print::count;
use bachdist_portable::render::{PageNote, PiecePage, pieces_page};

/// Whether this names music, and not a run: a file that is there.
pub fn is_piece(source: &str) -> bool {
    location::file(source).is_ok_and(|path| path.is_file())
}

/// The page of files, each of which may have several pieces.
pub fn report(sources: &[&String]) -> Result<String> {
    let mut pieces = Vec::new();
    for source in sources {
        let failure = |reason: String| Failure::new(ExitCode::Data, format!("{source}: {reason}"));
        let path = location::file(source).map_err(|error| failure(error.to_string()))?;
        let music = files::read(&path, NoteValue::Sixteenth).map_err(failure)?;
        for Music { name, song, .. } in music {
            let file =
                path.file_stem().map_or_else(|| (*source).clone(), |stem| stem.to_string_lossy().into());
            let title = match name {
                Some(name) => format!("{file} {name}"),
                None => file,
            };
            pieces.push(piece(title, &path, &song));
        }
    }
    if pieces.is_empty() {
        return Err(Failure::new(ExitCode::Data, format!("{}: no piece in it", sources[0])).into());
    }
    Ok(pieces_page(&pieces))
}

/// A song as a page shows it. Drums have no pitches that could be drawn.
fn piece(title: String, path: &Path, song: &midi::Song) -> PiecePage {
    let (mut voices, mut notes) = (Vec::new(), Vec::new());
    let lines = song.instruments.iter().filter(|line| !line.is_drum && !line.notes.is_empty());
    for (voice, Instrument { name, notes: line, .. }) in lines.enumerate() {
        let is_blank = name.trim().is_empty();
        voices.push(if is_blank { format!("Track {}", voice + 1) } else { name.trim().to_owned() });
        let mut line = line.clone();
        line.sort_by(|a, b| a.start.total_cmp(&b.start).then(b.pitch.cmp(&a.pitch)));
        notes.extend(line.into_iter().map(|Note { pitch, start, end, .. }| PageNote {
            voice,
            pitch,
            start,
            end,
            sounds: end,
            joined: false,
            given: false,
            shared: false,
            choices: Vec::new(),
        }));
    }
    let drums: usize = song.instruments.iter().filter(|line| line.is_drum).map(|line| line.notes.len()).sum();
    let left_out = match drums {
        0 => String::new(),
        drums => format!(", and {} of drums that are not shown", count(drums as u64, "note")),
    };
    PiecePage {
        details: format!("{}{left_out}: {}", count(notes.len() as u64, "note"), path.display()),
        file: title.replace(['/', ' '], "-"),
        title,
        voices: if voices.is_empty() { vec!["Melody".into()] } else { voices },
        notes,
        bars: song.bars().into_iter().map(|tick| song.time_at(tick)).collect(),
        certificate: None,
        midi: midi::write(song, &[]),
    }
}
