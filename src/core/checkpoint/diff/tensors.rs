//! The numbers of two checkpoints, tensor by tensor. They are compared by their bits: −0 is not 0, and a NaN
//! differs from another NaN.

use serde::Serialize;
use serde_json::json;

use crate::checkpoint::Checkpoint;
use crate::checkpoint::format::mean_square_name;
use crate::config::identity::ValueDifference;
use crate::network::Parameter;

/// How a tensor's numbers differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorDifference {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How many of its numbers differ.
    pub differing: usize,
    /// The largest absolute difference; NaN where one of the two is no number.
    pub largest: f64,
    /// Where that is, by one index a dimension.
    pub at: Vec<usize>,
    /// The two numbers there.
    pub values: [f32; 2],
    /// The largest distance of two numbers in units in the last place: how many floats one goes from one to the
    /// other. `None` if a NaN stands against each.
    pub ulps: Option<u32>,
}

/// The tensors that only one has, or that have another shape.
pub fn shapes(a: &Checkpoint, b: &Checkpoint) -> Vec<ValueDifference> {
    let (of_a, of_b) = (a.architecture.parameters(), b.architecture.parameters());
    let only_b = of_b.iter().filter(|parameter| of_name(&of_a, &parameter.name).is_none());
    let names = of_a.iter().chain(only_b).map(|parameter| &parameter.name);
    names
        .filter_map(|name| {
            let values =
                [&of_a, &of_b].map(|own| json!(of_name(own, name).map(|parameter| &parameter.shape)));
            let key = format!("the shape of {name}");
            (values[0] != values[1]).then_some(ValueDifference { key, values })
        })
        .collect()
}

/// The tensors of the same name and shape whose numbers differ: all weights in the order of the network, then
/// the optimizer's means in the same order.
pub fn numbers(a: &Checkpoint, b: &Checkpoint) -> Vec<TensorDifference> {
    let of_b = b.architecture.parameters();
    let of_both: Vec<(Parameter, &Parameter)> = a
        .architecture
        .parameters()
        .into_iter()
        .filter_map(|own| {
            let other = of_name(&of_b, &own.name).filter(|other| other.shape == own.shape)?;
            Some((own, other))
        })
        .collect();
    let weights = of_both.iter().filter_map(|(own, other)| {
        let numbers = [&a.parameters[own.range()], &b.parameters[other.range()]];
        TensorDifference::between(own.name.clone(), &own.shape, numbers)
    });
    let mean_squares = of_both.iter().filter_map(|(own, other)| {
        let numbers = [&a.mean_square[own.range()], &b.mean_square[other.range()]];
        TensorDifference::between(mean_square_name(&own.name), &own.shape, numbers)
    });
    weights.chain(mean_squares).collect()
}

fn of_name<'a>(parameters: &'a [Parameter], name: &str) -> Option<&'a Parameter> {
    parameters.iter().find(|parameter| parameter.name == name)
}

impl TensorDifference {
    /// How the numbers of a tensor differ, if they do.
    fn between(name: String, shape: &[usize], [a, b]: [&[f32]; 2]) -> Option<Self> {
        let pairs = a.iter().zip(b).enumerate().map(|(at, (&a, &b))| (at, [a, b]));
        let mut differing = pairs.filter(|(_, [a, b])| a.to_bits() != b.to_bits()).peekable();
        let &(mut at, mut values) = differing.peek()?;
        let (mut count, mut largest, mut ulps) = (0, distance(values), None);
        for (index, pair) in differing {
            count += 1;
            // The total order has NaN above infinity. Of equals the first stays.
            if distance(pair).total_cmp(&largest).is_gt() {
                (at, values, largest) = (index, pair, distance(pair));
            }
            ulps = ulps.max(units_in_the_last_place(pair));
        }
        let at = place(at, shape);
        Some(TensorDifference { name, shape: shape.to_vec(), differing: count, largest, at, values, ulps })
    }
}

/// Without rounding worth the name: the difference of two f32 as f64. A NaN comes out as the positive one.
fn distance([a, b]: [f32; 2]) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN.abs() } else { (f64::from(a) - f64::from(b)).abs() }
}

/// How many floats one goes from one to the other, −0 and 0 being two of them.
fn units_in_the_last_place(pair: [f32; 2]) -> Option<u32> {
    // Bits as whole numbers in the order of the floats, as `f32::total_cmp` has them.
    let [a, b] = pair.map(|x| {
        let bits = x.to_bits() as i32;
        bits ^ (((bits >> 31) as u32) >> 1) as i32
    });
    (!pair[0].is_nan() && !pair[1].is_nan()).then_some(a.abs_diff(b))
}

/// The index in each dimension of a number in a tensor.
fn place(index: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = index;
    let mut at: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&length| {
            let own = rest % length;
            rest /= length;
            own
        })
        .collect();
    at.reverse();
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(a: &[f32], b: &[f32]) -> Option<TensorDifference> {
        TensorDifference::between("x".into(), &[a.len()], [a, b])
    }

    #[test]
    fn the_largest_difference_and_the_furthest_float_need_not_be_in_one_place() {
        let difference = between(&[1.0, 2.0, 1e-30, 5.0], &[1.0, 2.5, 2e-30, 5.0]).unwrap();
        assert_eq!((difference.differing, difference.largest, &difference.at[..]), (2, 0.5, &[1][..]));
        assert_eq!(difference.values, [2.0, 2.5]);
        // From one power of two to the next there are 2²³ floats, and a little further in 1e-30's case.
        assert!(difference.ulps.is_some_and(|ulps| ulps > 8_000_000), "{difference:?}");
    }

    #[test]
    fn signs_of_zero_and_payloads_of_nan_are_bits_too() {
        let zeros = between(&[0.0], &[-0.0]).unwrap();
        assert_eq!((zeros.largest, zeros.ulps), (0.0, Some(1)));
        assert_eq!(between(&[f32::NAN], &[f32::NAN]), None);
        let payload = f32::from_bits(f32::NAN.to_bits() | 1);
        let nans = between(&[1.0, f32::NAN, 3.0], &[1.0, payload, f32::INFINITY]).unwrap();
        assert!(nans.largest.is_nan() && nans.at == [1], "{nans:?}");
        assert_eq!(nans.differing, 2);
        assert!(nans.ulps.is_some(), "3 stands against infinity");
        assert_eq!(between(&[f32::NAN], &[1.0]).unwrap().ulps, None);
        assert_eq!(between(&[1.0], &[f32::NEG_INFINITY]).unwrap().largest, f64::INFINITY);
    }

    #[test]
    fn neighbours_are_one_apart_across_zero_too() {
        for (a, b, apart) in [
            (1.0, 1.0f32.next_up(), 1),
            (-1.0, (-1.0f32).next_down(), 1),
            (f32::from_bits(1), -f32::from_bits(1), 3),
            (f32::MAX, f32::INFINITY, 1),
        ] {
            assert_eq!(units_in_the_last_place([a, b]), Some(apart), "{a} {b}");
            assert_eq!(units_in_the_last_place([b, a]), Some(apart), "{b} {a}");
        }
    }

    #[test]
    fn places_are_rows_before_columns() {
        assert_eq!(place(0, &[3, 4]), [0, 0]);
        assert_eq!(place(7, &[3, 4]), [1, 3]);
        assert_eq!(place(5, &[6]), [5]);
    }
}
