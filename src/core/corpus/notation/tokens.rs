//! One line of music, cut into bar lines, brackets, bar numbers, notes, chords and rests.

use super::error::Problem;
use super::pitch;

/// The smallest part of music that means something by itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `|`
    BarLine,
    /// `(`
    Open,
    /// `)2`, and the events are to sound so many times.
    Close(u32),
    /// The number of a bar.
    Number(String),
    /// A note, a chord, or a rest, which has no pitches.
    Event { pitches: Vec<u8>, units: u32, tied: bool },
}

/// Reads a line's tokens, each with its column in characters, from 1.
pub(super) struct Tokens<'a> {
    rest: &'a str,
    column: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn of(line: &'a str) -> Tokens<'a> {
        Tokens { rest: line, column: 1 }
    }

    /// Takes the longest beginning of the line whose characters all fit.
    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.column += taken.chars().count();
        taken
    }

    fn word(&mut self) -> &'a str {
        self.take_while(|c| !c.is_whitespace() && !"|()[]".contains(c))
    }

    /// Reads the token that begins with `first`, which was taken already unless it is part of a word.
    fn token(&mut self, first: char) -> Result<Token, Problem> {
        match first {
            '|' => Ok(Token::BarLine),
            '(' => Ok(Token::Open),
            ')' => self
                .word()
                .parse()
                .ok()
                .filter(|times| *times > 1)
                .map(Token::Close)
                .ok_or(Problem::RepeatCount),
            '[' => self.chord(),
            ']' => Err(Problem::Unexpected { found: first.into() }),
            _ if first.is_ascii_digit() => Ok(Token::Number(self.word().to_owned())),
            _ => single(self.word()),
        }
    }

    fn chord(&mut self) -> Result<Token, Problem> {
        let names = self.take_while(|c| c != ']');
        self.rest = self.rest.strip_prefix(']').ok_or(Problem::ChordOpen)?;
        self.column += 1;
        let mut pitches = names.split_whitespace().map(pitch::key).collect::<Result<Vec<u8>, _>>()?;
        if pitches.is_empty() {
            return Err(Problem::ChordEmpty);
        }
        pitches.sort_unstable();
        if pitches.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Problem::ChordTwice);
        }
        let after = self.word();
        match after.chars().next() {
            None | Some(':' | '~') => {
                length(after).map(|(units, tied)| Token::Event { pitches, units, tied })
            }
            Some(_) => Err(Problem::Unexpected { found: after.to_owned() }),
        }
    }
}

impl Iterator for Tokens<'_> {
    type Item = (usize, Result<Token, Problem>);

    fn next(&mut self) -> Option<Self::Item> {
        self.take_while(char::is_whitespace);
        let column = self.column;
        let first = self.rest.chars().next()?;
        if "|()[]".contains(first) {
            self.rest = &self.rest[1..];
            self.column += 1;
        }
        Some((column, self.token(first)))
    }
}

/// A note or a rest.
fn single(word: &str) -> Result<Token, Problem> {
    let (name, after) = word.split_at(word.find([':', '~']).unwrap_or(word.len()));
    let pitches = if name == "." { Vec::new() } else { vec![pitch::key(name)?] };
    let (units, tied) = length(after)?;
    if pitches.is_empty() && tied {
        return Err(Problem::TieOfRest);
    }
    Ok(Token::Event { pitches, units, tied })
}

/// What follows a name: `:4`, `:4~`, `~` or nothing. Units, and whether the note is tied to the next.
fn length(after: &str) -> Result<(u32, bool), Problem> {
    let (units, tied) = after.strip_suffix('~').map_or((after, false), |units| (units, true));
    if units.is_empty() {
        return Ok((1, tied));
    }
    let number = units.strip_prefix(':').and_then(|number| number.parse().ok()).filter(|number| *number > 0);
    number.map(|number| (number, tied)).ok_or_else(|| Problem::NotALength { text: units.to_owned() })
}
