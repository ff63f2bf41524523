//! A checkpoint's bytes: a safetensors file that PyTorch loads, with one metadata key of canonical JSON.

use std::borrow::Cow;
use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::identity::run_digest;
use super::{Checkpoint, TrainingCorpus};
use crate::config::{Config, TrainConfig};
use crate::corpus::{Piece, hash_of_names_and_contents};
use crate::network::batch::EpochSums;
use crate::network::{Architecture, Parameter};
use crate::representation::{Representation, RepresentationConfig, Token, vocabulary_hash};
use crate::schedule::WindowAudit;

/// The one metadata key. safetensors keeps metadata in a hash map, so several keys would be written in any order.
const KEY: &str = "bachdist";

/// The format that is written. It is raised when older programs could not read what is written.
///
/// Format 1 had no representation but `pitch`: its tokens are bytes, named classes.
const FORMAT: u32 = 2;

/// Why bytes are not a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// Not safetensors, or a damaged one.
    #[error("not a safetensors file ({0})")]
    Container(#[from] safetensors::SafeTensorError),
    /// A safetensors file of something else.
    #[error("a safetensors file, but not a checkpoint of bachdist (it has no {KEY} metadata)")]
    Foreign,
    /// Its description cannot be read.
    #[error("its description cannot be read ({0})")]
    Description(serde_json::Error),
    /// Its configuration cannot be read.
    #[error("its configuration cannot be read ({0})")]
    Identity(serde_json::Error),
    /// Its configuration cannot be right.
    #[error("its configuration is wrong: {0}: {1}")]
    Value(String, String),
    /// Written by another version.
    #[error("format {0}; this program reads formats 1 to {FORMAT}")]
    Version(u32),
    /// Its tokens have another meaning than this program gives them.
    #[error("its tokens are those of {theirs}, and this program's {ours} are others")]
    Representation {
        /// The checkpoint's [`Representation::id`].
        theirs: String,
        /// This program's.
        ours: &'static str,
    },
    /// A tensor is missing or has another shape or type than its architecture says.
    #[error("tensor {0} is missing or of the wrong shape")]
    Tensor(String),
    /// The corpus in it does not fit its description.
    #[error("its corpus does not fit its description")]
    Corpus,
}

/// The metadata. Field order is the order of the bytes.
#[derive(Serialize, Deserialize)]
struct Description {
    format: u32,
    step: u64,
    /// Absent in format 1.
    representation: Option<RepresentationDescription>,
    identity: serde_json::Value,
    epoch: EpochSums,
    seen: WindowAudit,
    corpus: CorpusDescription,
}

/// What tokens mean. The options are part of the identity too, but other programs need not know it.
#[derive(Serialize, Deserialize)]
struct RepresentationDescription {
    id: String,
    options: RepresentationConfig,
    vocabulary_sha256: String,
}

#[derive(Serialize, Deserialize)]
struct CorpusDescription {
    fingerprint: String,
    names: Vec<String>,
}

/// (lanes, members, layers, 2, rows, units); only of runs that carry a state.
const CARRIED: &str = "train.carried_state";

const CORPUS_TOKENS: &str = "corpus.tokens";
const CORPUS_TOKENS_OF_FORMAT_1: &str = "corpus.classes";
const CORPUS_LENGTHS: &str = "corpus.lengths";

/// The optimizer's tensor for a parameter.
pub(super) fn mean_square_name(parameter: &Parameter) -> String {
    format!("optimizer.mean_square.{}", parameter.name())
}

impl Checkpoint {
    /// The bytes: equal for equal contents, on every machine.
    pub fn encode(&self) -> Vec<u8> {
        let options = self.representation.clone();
        let representation = options.build();
        let description = Description {
            format: FORMAT,
            step: self.step,
            representation: Some(RepresentationDescription {
                id: representation.id().into(),
                options,
                vocabulary_sha256: vocabulary_hash(&*representation),
            }),
            identity: self.identity.clone(),
            epoch: self.epoch,
            seen: self.audit,
            corpus: CorpusDescription {
                fingerprint: self.corpus.fingerprint.clone(),
                names: self.corpus.pieces.iter().map(|piece| piece.name.clone()).collect(),
            },
        };
        let json = serde_json::to_string(&description).expect("plain data becomes JSON");
        let tensors = self.tensors();
        let views = tensors.iter().map(|tensor| {
            let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.data);
            (tensor.name.as_str(), view.expect("bytes for every element of the shape"))
        });
        // safetensors sorts tensors by type and name, so their order here does not matter.
        safetensors::serialize(views, Some(HashMap::from([(KEY.to_owned(), json)])))
            .expect("names are unique and sizes fit")
    }

    fn tensors(&self) -> Vec<Tensor<'_>> {
        let mut tensors = Vec::new();
        for parameter in self.architecture.parameters() {
            let shape = &parameter.shape;
            if let Some(name) = parameter.second_bias_name() {
                tensors.push(Tensor::of_floats(name, shape, &vec![0.0; parameter.len()]));
            }
            let mean_square = &self.mean_square[parameter.range()];
            tensors.push(Tensor::of_floats(mean_square_name(&parameter), shape, mean_square));
            tensors.push(Tensor::of_floats(parameter.name(), shape, &self.parameters[parameter.range()]));
        }
        if !self.carried.is_empty() {
            let Architecture { layers, units, members, .. } = self.architecture;
            let lanes = self.identity["train"]["lanes"].as_u64().unwrap_or(1) as usize;
            let rows = self.carried.len() / (lanes * members * layers * 2 * units);
            let shape = [lanes, members, layers, 2, rows, units];
            tensors.push(Tensor::of_floats(CARRIED.into(), &shape, &self.carried));
        }
        let pieces = &self.corpus.pieces;
        let tokens: Vec<Token> = pieces.iter().flat_map(|piece| &piece.tokens).copied().collect();
        let lengths = pieces.iter().flat_map(|piece| (piece.tokens.len() as i64).to_le_bytes()).collect();
        tensors.push(Tensor {
            name: CORPUS_TOKENS.into(),
            dtype: Dtype::U16,
            shape: vec![tokens.len()],
            data: Cow::Owned(tokens.iter().flat_map(|token| token.to_le_bytes()).collect()),
        });
        tensors.push(Tensor {
            name: CORPUS_LENGTHS.into(),
            dtype: Dtype::I64,
            shape: vec![pieces.len()],
            data: Cow::Owned(lengths),
        });
        tensors
    }

    /// Reads bytes that [`Checkpoint::encode`] of this or an older version wrote. Anything else is an error, never a panic.
    pub fn decode(bytes: &[u8]) -> Result<Checkpoint, FormatError> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let metadata = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let description = read_description(metadata.ok_or(FormatError::Foreign)?)?;
        let config = Config::from_identity(&description.identity).map_err(FormatError::Identity)?;
        if let Some(problem) = config.validate().into_iter().next() {
            return Err(FormatError::Value(problem.key, problem.message));
        }
        let representation = config.representation.build();
        check_representation(&*representation, &description)?;
        let architecture = Architecture::new(&config.model, representation.shape());
        let tensors = SafeTensors::deserialize(bytes)?;
        let (corpus, run_of_format_1) = read_corpus(&tensors, &description, &*representation)?;
        Ok(Checkpoint {
            step: description.step,
            parameters: read_flat(&tensors, architecture, Parameter::name)?,
            mean_square: read_flat(&tensors, architecture, mean_square_name)?,
            carried: read_carried(&tensors, architecture, &config.train)?,
            architecture,
            epoch: description.epoch,
            audit: description.seen,
            corpus,
            run_of_format_1,
            // Under the names that keys have today.
            identity: config.identity(),
            representation: config.representation,
        })
    }
}

/// A tensor about to be written.
struct Tensor<'a> {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    data: Cow<'a, [u8]>,
}

impl Tensor<'_> {
    fn of_floats(name: String, shape: &[usize], floats: &[f32]) -> Self {
        let data = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
        Tensor { name, dtype: Dtype::F32, shape: shape.to_vec(), data: Cow::Owned(data) }
    }
}

fn read_description(json: &str) -> Result<Description, FormatError> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    // The version first: the description of a later one may not even have these fields.
    let Version { format } = serde_json::from_str(json).map_err(FormatError::Description)?;
    if !(1..=FORMAT).contains(&format) {
        return Err(FormatError::Version(format));
    }
    serde_json::from_str(json).map_err(FormatError::Description)
}

fn read_flat(
    tensors: &SafeTensors<'_>,
    architecture: Architecture,
    name_of: impl Fn(&Parameter) -> String,
) -> Result<Vec<f32>, FormatError> {
    let mut flat = Vec::new();
    for parameter in architecture.parameters() {
        let name = name_of(&parameter);
        match tensors.tensor(&name) {
            Ok(view) if view.dtype() == Dtype::F32 && view.shape() == parameter.shape => {
                flat.extend(le_chunks(view.data()).map(f32::from_le_bytes));
            }
            _ => return Err(FormatError::Tensor(name)),
        }
    }
    Ok(flat)
}

/// The states of the rows of a run that carries them; at step 0 there are none yet.
fn read_carried(
    tensors: &SafeTensors<'_>,
    architecture: Architecture,
    train: &TrainConfig,
) -> Result<Vec<f32>, FormatError> {
    let Ok(view) = tensors.tensor(CARRIED) else { return Ok(Vec::new()) };
    let Architecture { layers, units, members, .. } = architecture;
    let &[lanes, of_members, of_layers, 2, _, of_units] = view.shape() else {
        return Err(FormatError::Tensor(CARRIED.into()));
    };
    let fits = (lanes, of_members, of_layers, of_units) == (train.lanes, members, layers, units);
    if !fits || !train.carry_state || view.dtype() != Dtype::F32 {
        return Err(FormatError::Tensor(CARRIED.into()));
    }
    Ok(le_chunks(view.data()).map(f32::from_le_bytes).collect())
}

/// The bytes of numbers.
fn le_chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks().0.iter().copied()
}

/// An error unless tokens mean what this program takes them for. Format 1 has no more than the size of the vocabulary, which
/// the shapes of tensors show.
fn check_representation(
    representation: &dyn Representation,
    description: &Description,
) -> Result<(), FormatError> {
    match &description.representation {
        None if description.format == 1 => Ok(()),
        Some(theirs)
            if theirs.id == representation.id()
                && theirs.vocabulary_sha256 == vocabulary_hash(representation) =>
        {
            Ok(())
        }
        theirs => Err(FormatError::Representation {
            theirs: theirs.as_ref().map_or("none".into(), |theirs| theirs.id.clone()),
            ours: representation.id(),
        }),
    }
}

/// The corpus and, of format 1, the digest by which attempts of that time name the run.
fn read_corpus(
    tensors: &SafeTensors<'_>,
    description: &Description,
    representation: &dyn Representation,
) -> Result<(TrainingCorpus, Option<String>), FormatError> {
    let tensor = |name: &str, dtype: Dtype| match tensors.tensor(name) {
        Ok(view) if view.dtype() == dtype => Ok(view),
        _ => Err(FormatError::Tensor(name.into())),
    };
    let tokens: Vec<Token> = match description.format {
        1 => tensor(CORPUS_TOKENS_OF_FORMAT_1, Dtype::U8)?.data().iter().map(|&byte| byte.into()).collect(),
        _ => le_chunks(tensor(CORPUS_TOKENS, Dtype::U16)?.data()).map(Token::from_le_bytes).collect(),
    };
    let lengths = tensor(CORPUS_LENGTHS, Dtype::I64)?;
    let lengths: Vec<i64> = le_chunks(lengths.data()).map(i64::from_le_bytes).collect();
    let CorpusDescription { fingerprint, names } = &description.corpus;
    let vocabulary = representation.vocabulary().len();
    if lengths.len() != names.len() || tokens.iter().any(|&token| usize::from(token) >= vocabulary) {
        return Err(FormatError::Corpus);
    }
    let mut rest = &tokens[..];
    let mut pieces = Vec::new();
    for (name, length) in names.iter().zip(lengths) {
        let length = usize::try_from(length).map_err(|_| FormatError::Corpus)?;
        let (tokens, after) = rest.split_at_checked(length).ok_or(FormatError::Corpus)?;
        rest = after;
        pieces.push(Piece { name: name.clone(), tokens: tokens.to_vec() });
    }
    let training = TrainingCorpus::new(pieces.into());
    let expected = match description.format {
        1 => fingerprint_of_format_1(&training.pieces),
        _ => training.fingerprint.clone(),
    };
    if !rest.is_empty() || expected != *fingerprint {
        return Err(FormatError::Corpus);
    }
    let run = (description.format == 1).then(|| run_digest(&description.identity, fingerprint));
    Ok((training, run))
}

/// The fingerprint of a corpus whose tokens are bytes.
fn fingerprint_of_format_1(pieces: &[Piece]) -> String {
    hash_of_names_and_contents(pieces, |piece| piece.tokens.iter().map(|&token| token as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::checkpoint;
    use super::*;
    use proptest::prelude::*;

    fn small() -> Checkpoint {
        checkpoint(2, &[("a", &[1, 2, 3]), ("b", &[])])
    }

    #[test]
    fn what_is_written_is_read_back_and_written_again_the_same() {
        let bytes = small().encode();
        let back = Checkpoint::decode(&bytes).unwrap();
        assert_eq!(back, small());
        assert_eq!(back.encode(), bytes);
    }

    #[test]
    fn other_safetensors_are_foreign() {
        let view = TensorView::new(Dtype::U8, vec![1], &[0]).unwrap();
        let bytes = safetensors::serialize([("x", view)], None).unwrap();
        assert!(matches!(Checkpoint::decode(&bytes), Err(FormatError::Foreign)));
        assert!(matches!(Checkpoint::decode(b""), Err(FormatError::Container(_))));
    }

    #[test]
    fn another_format_says_so() {
        let json = r#"{"format":9}"#;
        assert!(matches!(read_description(json), Err(FormatError::Version(9))));
    }

    proptest! {
        #![proptest_config(bachdist_test_support::properties(256))]

        #[test]
        fn every_sum_is_read_back_bit_for_bit(loss in proptest::num::f64::NORMAL) {
            let mut checkpoint = small();
            checkpoint.epoch.loss = loss;
            let back = Checkpoint::decode(&checkpoint.encode()).unwrap();
            prop_assert_eq!(back.epoch.loss.to_bits(), loss.to_bits());
        }

        #[test]
        fn damage_never_panics(at: usize, bit in 0u8..8, cut: usize) {
            let mut bytes = small().encode();
            let length = bytes.len();
            bytes[at % length] ^= 1 << bit;
            let _ = Checkpoint::decode(&bytes);
            bytes.truncate(cut % length);
            prop_assert!(Checkpoint::decode(&bytes).is_err());
        }
    }
}
