//! Which values of two descriptions differ, by their dotted keys.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

/// A value that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Its dotted key, like `model.units`.
    pub key: String,
    /// The two values; null where there is none.
    pub values: [Value; 2],
}

impl Difference {
    /// The difference in words, each value followed by which of the two it belongs to.
    pub fn told(&self, of: [&str; 2]) -> String {
        let [a, b] = self.values.each_ref().map(Shown);
        format!("{} is {a} {} and {b} {}", self.key, of[0], of[1])
    }
}

/// A value as people read it.
struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("absent"),
            value => value.fmt(f),
        }
    }
}

/// All values that differ, in the order of their keys.
pub fn compare(a: &Value, b: &Value) -> Vec<Difference> {
    let mut differences = Vec::new();
    descend(String::new(), [a, b], &mut differences);
    differences
}

fn descend(key: String, values: [&Value; 2], differences: &mut Vec<Difference>) {
    match values {
        [Value::Object(a), Value::Object(b)] => {
            let mut names: Vec<_> = a.keys().chain(b.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                let value = |object: &'_ Map<String, Value>| object.get(name).cloned().unwrap_or_default();
                descend(key, [&value(a), &value(b)], differences);
            }
        }
        [a, b] if a != b => differences.push(Difference { key, values: [a.clone(), b.clone()] }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use serde_json::json;

    #[test]
    fn differences_are_named_by_key() {
        let (a, mut b) = (Config::default(), Config::default());
        b.model.units = 128;
        b.data.holdout = vec!["x".into()];
        let told: Vec<_> = compare(&a.identity(), &b.identity())
            .iter()
            .map(|difference| difference.told(["there", "here"]))
            .collect();
        assert_eq!(
            told,
            ["data.holdout is [] there and [\"x\"] here", "model.units is 256 there and 128 here"]
        );
    }

    #[test]
    fn a_key_that_only_one_has_is_absent_in_the_other() {
        let differences = compare(&json!({"a": {"b": 1}}), &json!({"a": {"b": 1, "c": "x"}}));
        assert_eq!(differences.len(), 1);
        assert_eq!(differences[0].told(["there", "here"]), "a.c is absent there and \"x\" here");
    }
}
