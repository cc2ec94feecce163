//! What Microsoft's portals and tables show of a record, as the record itself says it.
//!
//! Many rules were written off a screen: `Status: Success` where the record has the number of an error, `service principal` where it
//! says `ServicePrincipal`, an activity without the dash and the blank that its name has. Taken by the letter they never fire. So
//! where a rule uses a word of the screen, the record's word for it counts as well.

use serde_json::Value;

use crate::expr::{Expr, Literal};

const ACTIVITIES: [&str; 5] =
    ["properties.activityDisplayName", "activityDisplayName", "ActivityDisplayName", "operationName", "OperationName"];
const PROTOCOLS: [&str; 3] = ["properties.authenticationProtocol", "authenticationProtocol", "AuthenticationProtocol"];
const DASHES: [char; 2] = ['-', '–'];
const TARGETS: [&str; 3] = ["properties.targetResources", "targetResources", "TargetResources"];

/// What an outcome that is told in words is in ours. None where no value is one.
pub fn outcome(values: &[String]) -> Option<Expr> {
    let word = |it: &String| match it.to_lowercase().as_str() {
        "success" => Some("success"),
        "failure" | "failed" => Some("failure"),
        _ => None,
    };
    let words: Vec<Literal> = values.iter().filter_map(word).map(|it| Literal::Text(it.into())).collect();
    (!words.is_empty()).then(|| Expr::OneOf("event.outcome".into(), words))
}

/// What a field of an Azure rule is in the records of Azure and Entra, where other words than the rule's say it.
pub fn azure(field: &str, values: &[String]) -> Option<Expr> {
    let field = field.strip_prefix("properties.").unwrap_or(field).to_lowercase();
    let values: Vec<&String> = values.iter().filter(|it| !it.contains(['*', '?'])).collect();
    let found = match field.as_str() {
        "status" | "resultdescription" => return outcome(&values.into_iter().cloned().collect::<Vec<_>>()),
        // The provider of a resource is what an operation's name begins with.
        "resourceprovidervalue" => values.iter().flat_map(|it| provider(it)).collect(),
        "targettype" => {
            equal(&TARGETS.map(|it| format!("{it}[].type")), values.iter().map(|it| unspaced(it)).collect())
        }
        "message" => message(&values),
        _ => Vec::new(),
    };
    (!found.is_empty()).then(|| Expr::NoCase(Box::new(Expr::Any(found))))
}

fn provider(value: &str) -> [Expr; 2] {
    ["operationName", "operationName.value"].map(|it| Expr::StartsWith(it.into(), format!("{value}/")))
}

/// The message of an audit record is its activity or what was changed, that of a sign-in the protocol.
fn message(values: &[&String]) -> Vec<Expr> {
    let dashed = values.iter().filter(|it| it.contains(DASHES)).map(|it| {
        let parts: Vec<&str> = it.split(DASHES).map(str::trim).collect();
        parts.join(" – ")
    });
    let dashed = dashed.flat_map(|it| [format!("{it} "), it]).collect();
    let mut found = equal(&ACTIVITIES.map(str::to_string), dashed);
    found.extend(equal(&PROTOCOLS.map(str::to_string), values.iter().map(|it| unspaced(it)).collect()));
    found.extend(values.iter().filter_map(|it| changed(it)).flatten());
    found
}

/// `"displayName":"X","oldValue":"a","newValue":"b"`: that X became b.
fn changed(value: &str) -> Option<[Expr; 3]> {
    let json: Value = serde_json::from_str(&format!("{{{value}}}")).ok()?;
    let text = |key: &str| json.get(key).and_then(Value::as_str);
    let (name, old, new) = (text("displayName")?, text("oldValue")?, text("newValue")?);
    let is_plain = !name.contains(['[', ']', '=']);
    is_plain.then(|| {
        TARGETS.map(|it| {
            let path = |key: &str| format!("{it}[].modifiedProperties[displayName={name}].{key}");
            let equal = |key: &str, value: &str| Expr::Eq(path(key), Literal::Text(value.into()));
            Expr::All(vec![equal("oldValue", old), equal("newValue", new)])
        })
    })
}

fn unspaced(value: &str) -> String {
    value.split_whitespace().collect()
}

fn equal(paths: &[String], values: Vec<String>) -> Vec<Expr> {
    let values: Vec<Literal> = values.into_iter().map(Literal::Text).collect();
    if values.is_empty() {
        return Vec::new();
    }
    paths.iter().map(|it| Expr::OneOf(it.clone(), values.clone())).collect()
}
