//! Post-build substitution: `${VAR}` in the YAML text of an object is replaced by the value of a variable.
//!
//! It is textual on purpose, as in Flux: the object is written as YAML, which drops quotes that are not needed, the text
//! is substituted, and the result is read by the YAML 1.1 rules, so that a value of `5` becomes a number, one of `yes` a
//! boolean, and one of `[a, b]` a list. Base64 data of Secrets is left alone because no expression survives in it.
//! Pure: variables come from the caller, who reads ConfigMaps and Secrets.
//!
//! Errors carry Flux's words, see [`Error`].

mod expression;
mod pattern;

use std::collections::BTreeMap;

use serde_json::Value;

pub use expression::Cause;

/// Label and annotation that keep an object out of substitution when their value is exactly `disabled`.
pub const KEY: &str = "kustomize.toolkit.fluxcd.io/substitute";

const DISABLED: &str = "disabled";

/// The rule for names of variables, for messages.
const NAME_RULE: &str = "^[_[:alpha:]][_[:alpha:][:digit:]]*$";

/// The longest text a substitution may produce, in bytes.
const MAX_TEXT: usize = yaml::MAX_TEXT_BYTES;

/// Why an object could not be substituted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A variable has a name that no expression could use.
    #[error("envsubst error: '{0}' var name is invalid, must match '{NAME_RULE}'")]
    Name(String),
    /// An expression is malformed or, in strict mode, names a variable that is not set.
    #[error("envsubst error: variable substitution failed: {0}")]
    Expression(#[from] Cause),
    /// The text after substitution is no YAML.
    #[error("envsubst error: YAMLToJSON: {0}")]
    Yaml(#[from] yaml::Error),
    /// The text after substitution is YAML, but no object.
    #[error("envsubst error: UnmarshalJSON: the text after substitution is not an object")]
    NotAnObject,
}

/// The value a variable gets from a ConfigMap, a Secret or the spec: without its line feeds.
pub fn variable(value: &str) -> String {
    value.replace('\n', "")
}

/// Whether the object opts out of substitution.
pub fn is_disabled(object: &Value) -> bool {
    ["labels", "annotations"]
        .iter()
        .any(|field| object["metadata"][field][KEY] == DISABLED)
}

/// The object with the variables in place; objects that opt out come back as they are.
///
/// In strict mode a variable that is not set and has no default is an error, otherwise it is empty.
///
/// # Errors
/// See [`Error`].
pub fn substitute_object(object: &Value, variables: &BTreeMap<String, String>, strict: bool) -> Result<Value, Error> {
    if is_disabled(object) {
        return Ok(object.clone());
    }
    let text = substitute(&yaml::to_string(object), variables, strict)?;
    let document = yaml::parse_json(&text, yaml::Dialect::V2)?.into_iter().next();
    document
        .map(|(_, value)| value)
        .filter(Value::is_object)
        .ok_or(Error::NotAnObject)
}

/// The text with the variables in place.
///
/// # Errors
/// See [`Error`]; a text is substituted whole or not at all.
pub fn substitute(text: &str, variables: &BTreeMap<String, String>, strict: bool) -> Result<String, Error> {
    if let Some(name) = variables.keys().find(|name| !is_name(name)) {
        return Err(Error::Name(name.clone()));
    }
    Ok(expression::expand(text, &|name| match variables.get(name) {
        Some(value) => Some(value.as_str()),
        None => (!strict).then_some(""),
    })?)
}

fn is_name(name: &str) -> bool {
    let start = |b: u8| b == b'_' || b.is_ascii_alphabetic();
    let mut bytes = name.bytes();
    bytes.next().is_some_and(start) && bytes.all(|b| start(b) || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn variables() -> BTreeMap<String, String> {
        [
            ("name", "web"),
            ("count", "5"),
            ("flag", "yes"),
            ("list", "[a, b]"),
            ("quote", "\""),
            ("empty", ""),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    fn check(object: Value, expected: Result<Value, &str>) {
        let found = substitute_object(&object, &variables(), true).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[test]
    fn values_take_the_type_their_text_has() {
        check(
            json!({"a": "${count}", "b": "${flag}", "c": "${list}", "d": "${name}-${count}", "e": "${empty}"}),
            Ok(json!({"a": 5, "b": true, "c": ["a", "b"], "d": "web-5", "e": null})),
        );
        check(json!({"a": "${quote}${count}${quote}"}), Ok(json!({"a": "5"})));
        check(json!({"${name}": {"x": "y"}}), Ok(json!({"web": {"x": "y"}})));
    }

    #[test]
    fn text_in_scripts_is_replaced_and_escaped_dollars_collapse() {
        check(
            json!({"data": {"run.sh": "echo ${name}\necho $${name} $name\n"}}),
            Ok(json!({"data": {"run.sh": "echo web\necho ${name} $name\n"}})),
        );
    }

    #[test]
    fn encoded_secret_data_stays_as_it_is() {
        check(
            json!({"data": {"key": "JHtuYW1lfQ=="}}),
            Ok(json!({"data": {"key": "JHtuYW1lfQ=="}})),
        );
    }

    #[test]
    fn objects_opt_out_by_label_or_annotation_with_the_exact_value() {
        for field in ["labels", "annotations"] {
            let out = json!({"metadata": {field: {KEY: "disabled"}}, "a": "${unset}"});
            check(out.clone(), Ok(out));
        }
        let unset = "envsubst error: variable substitution failed: variable not set (strict mode): \"unset\"";
        check(
            json!({"metadata": {"labels": {KEY: "Disabled"}}, "a": "${unset}"}),
            Err(unset),
        );
    }

    #[test]
    fn a_variable_that_is_not_set_is_empty_without_strict_mode() {
        let object = json!({"a": "x${unset}"});
        assert_eq!(substitute_object(&object, &variables(), false), Ok(json!({"a": "x"})));
    }

    #[test]
    fn text_that_is_no_yaml_afterwards_is_an_error() {
        let mut variables = variables();
        variables.insert("bad".to_owned(), "[".to_owned());
        let error = substitute_object(&json!({"a": "${bad}"}), &variables, true)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("envsubst error: YAMLToJSON: yaml: "), "{error}");
    }

    #[test]
    fn names_of_variables_are_checked_before_anything_else() {
        for name in ["1a", "a-b", "a.b", "", "é"] {
            let variables = BTreeMap::from([(name.to_owned(), String::new())]);
            let error = substitute("no expression", &variables, true).unwrap_err().to_string();
            let expected = "var name is invalid, must match '^[_[:alpha:]][_[:alpha:][:digit:]]*$'";
            assert_eq!(error, format!("envsubst error: '{name}' {expected}"));
        }
        for name in ["_", "a1", "A_b"] {
            assert!(
                substitute("", &BTreeMap::from([(name.to_owned(), String::new())]), true).is_ok(),
                "{name}"
            );
        }
    }

    #[test]
    fn line_feeds_are_taken_out_of_values() {
        assert_eq!(variable("a\nb\n"), "ab");
    }
}
