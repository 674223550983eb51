//! The YAML file, as keys with dots and values as text.

use std::collections::BTreeMap;

use serde_yaml_ng::Value;

/// Every leaf of `text` with its values, several where it is a list: nested keys are joined by dots. An empty file has none.
///
/// # Errors
/// What is wrong with the file.
pub fn flatten(text: &str) -> Result<BTreeMap<String, Vec<String>>, String> {
    let value: Value = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
    let mut flat = BTreeMap::new();
    match value {
        Value::Null => {}
        Value::Mapping(_) => walk(String::new(), value, &mut flat)?,
        _ => return Err("it is not a list of keys with values".to_owned()),
    }
    Ok(flat)
}

fn walk(key: String, value: Value, flat: &mut BTreeMap<String, Vec<String>>) -> Result<(), String> {
    match value {
        Value::Mapping(entries) => {
            for (name, value) in entries {
                let Value::String(name) = name else {
                    return Err(format!("a key under {key:?} is no text"));
                };
                let nested = if key.is_empty() {
                    name
                } else {
                    format!("{key}.{name}")
                };
                walk(nested, value, flat)?;
            }
            Ok(())
        }
        // A key without a value is as good as absent.
        Value::Null => Ok(()),
        value => {
            if flat.insert(key.clone(), texts(&key, value)?).is_some() {
                return Err(format!("{key} is there twice"));
            }
            Ok(())
        }
    }
}

fn texts(key: &str, value: Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(text) => Ok(vec![text]),
        Value::Number(number) => Ok(vec![number.to_string()]),
        Value::Bool(truth) => Ok(vec![truth.to_string()]),
        Value::Sequence(items) => {
            let items: Result<Vec<_>, String> =
                items.into_iter().map(|item| texts(key, item)).collect();
            Ok(items?.concat())
        }
        _ => Err(format!("{key} is neither a text nor a list of texts")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_there_twice_is_an_error() {
        let error = flatten("a: {b: 1}\na.b: 2").unwrap_err();
        assert!(error.contains("a.b"), "{error}");
    }

    #[test]
    fn an_empty_file_sets_nothing() {
        assert!(flatten("").unwrap().is_empty() && flatten("# x\n").unwrap().is_empty());
        assert!(flatten("just text").is_err());
        assert!(flatten("a:\n").unwrap().is_empty());
    }
}
