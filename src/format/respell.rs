//! Records whose keys a pipeline renamed, spelled again as their vendor spells them.
//!
//! Wrappers put something around a record and leave it whole. Tables and shippers with names of their own take it apart: Athena
//! knows small letters only, Log Analytics flattens, BigQuery names a column by the payload's type, Elastic's modules move what
//! ECS has a name for. A schema that knew all these spellings would say everything five times; so each [`Way`] turns its
//! spelling back, and the schema reads what it always reads. This happens to records that no vendor's schema knew, so it may
//! allocate.

use serde_json::{Map, Value, json};

use crate::limits::{RESPELL_DEPTH_MAX, RESPELL_GROWTH_MAX};

type Object = Map<String, Value>;

/// How one pipeline spells.
struct Way {
    /// The members by which its records are known; all of them are there.
    signs: &'static [&'static str],
    respell: fn(Object) -> Option<Object>,
}

const WAYS: [Way; 12] = [
    Way { signs: &["eventname", "eventsource", "eventtime"], respell: from_athena },
    Way { signs: &["EventName", "EventSource", "TimeGenerated"], respell: |it| Some(moved(&it, &CLOUDTRAIL)) },
    Way { signs: &["OfficeWorkload", "Operation"], respell: from_office },
    Way { signs: &["OperationNameValue", "TimeGenerated"], respell: |it| Some(moved(&it, &AZURE)) },
    Way { signs: &["ActivityDisplayName", "OperationName", "TimeGenerated"], respell: from_entra },
    Way { signs: &["UserPrincipalName", "ResultType", "TimeGenerated"], respell: from_entra },
    Way { signs: &["ServicePrincipalName", "ResultType", "TimeGenerated"], respell: from_entra },
    Way { signs: &["RiskEventType", "TimeGenerated"], respell: from_entra },
    Way { signs: &["protopayload_auditlog"], respell: |it| Some(moved(&it, &BIGQUERY)) },
    Way { signs: &["query_text", "query_type", "user_name"], respell: from_small_columns },
    Way { signs: &["event", "@timestamp"], respell: from_elastic },
    Way { signs: &["TimeGenerated"], respell: from_custom_table },
];

/// How a known pipeline spelled an object with these members, if their keys say that one did. `firsts`: which ways' first signs
/// are among them, one bit a way.
fn way(members: &[(&str, &str)], firsts: u16) -> Option<&'static Way> {
    let keys = || members.iter().map(|it| it.0);
    let has = |sign: &&str| keys().any(|it| it == *sign);
    let mut ways = WAYS.iter().enumerate().filter(|it| firsts >> it.0 & 1 == 1).map(|it| it.1);
    let way = ways.find(|it| it.signs[1..].iter().all(has))?;
    if way.signs == ["TimeGenerated"] && !keys().any(|it| it.ends_with(TEXT_COLUMN)) {
        return None;
    }
    if way.signs[0] == "event" && !keys().any(|it| MODULES.contains(&it)) {
        return None;
    }
    Some(way)
}

/// Whether [`respelled`] has something to do, which depends on nothing but the keys.
pub(super) fn is_spelled(members: &[(&str, &str)], firsts: u16) -> bool {
    way(members, firsts).is_some()
}

/// The record that an object was, if the keys of its members say that a known pipeline renamed them.
pub(super) fn respelled(object: &str, members: &[(&str, &str)], firsts: u16) -> Option<String> {
    let way = way(members, firsts)?;
    let found = (way.respell)(serde_json::from_str(object).ok()?)?;
    let text = Value::Object(found).to_string();
    (text.len() <= object.len() * RESPELL_GROWTH_MAX).then_some(text)
}

/// Names of members one of which must be there for [`respelled`] to find something, and the bit of its way.
pub(super) fn firsts() -> impl Iterator<Item = (&'static str, u16)> {
    WAYS.iter().enumerate().map(|(way, it)| (it.signs[0], 1 << way))
}

/// Where each part of a CloudTrail record stands in Log Analytics, and where it belongs.
const CLOUDTRAIL: [(&str, &str); 31] = [
    ("TimeGenerated", "eventTime"),
    ("EventVersion", "eventVersion"),
    ("EventName", "eventName"),
    ("EventSource", "eventSource"),
    ("EventTypeName", "eventType"),
    ("AWSRegion", "awsRegion"),
    ("SourceIpAddress", "sourceIPAddress"),
    ("UserAgent", "userAgent"),
    ("ErrorCode", "errorCode"),
    ("ErrorMessage", "errorMessage"),
    ("ReadOnly", "readOnly"),
    ("RecipientAccountId", "recipientAccountId"),
    ("RequestParameters", "requestParameters"),
    ("ResponseElements", "responseElements"),
    ("AdditionalEventData", "additionalEventData"),
    ("ServiceEventDetails", "serviceEventDetails"),
    ("UserIdentityType", "userIdentity.type"),
    ("UserIdentityUserName", "userIdentity.userName"),
    ("UserIdentityArn", "userIdentity.arn"),
    ("UserIdentityPrincipalid", "userIdentity.principalId"),
    ("UserIdentityAccountId", "userIdentity.accountId"),
    ("UserIdentityAccessKeyId", "userIdentity.accessKeyId"),
    ("UserIdentityInvokedBy", "userIdentity.invokedBy"),
    ("SessionIssuerUserName", "userIdentity.sessionContext.sessionIssuer.userName"),
    ("SessionIssuerArn", "userIdentity.sessionContext.sessionIssuer.arn"),
    ("SessionIssuerType", "userIdentity.sessionContext.sessionIssuer.type"),
    ("SessionIssuerAccountId", "userIdentity.sessionContext.sessionIssuer.accountId"),
    ("SessionIssuerPrincipalId", "userIdentity.sessionContext.sessionIssuer.principalId"),
    ("SessionMfaAuthenticated", "userIdentity.sessionContext.attributes.mfaAuthenticated"),
    ("SessionCreationDate", "userIdentity.sessionContext.attributes.creationDate"),
    ("AwsEventId", "eventID"),
];
const OFFICE: [(&str, &str); 5] = [
    ("TimeGenerated", "CreationTime"),
    ("OfficeWorkload", "Workload"),
    ("OfficeObjectId", "ObjectId"),
    ("Client_IPAddress", "ClientIP"),
    ("UserId", "UserId"),
];
const AZURE: [(&str, &str); 9] = [
    ("TimeGenerated", "time"),
    ("OperationNameValue", "operationName"),
    ("CategoryValue", "category"),
    ("ActivityStatusValue", "resultType"),
    ("Caller", "caller"),
    ("CallerIpAddress", "callerIpAddress"),
    ("_ResourceId", "resourceId"),
    ("ResourceId", "resourceId"),
    ("Properties", "properties"),
];
const BIGQUERY: [(&str, &str); 12] = [
    ("timestamp", "timestamp"),
    ("logName", "logName"),
    ("insertId", "insertId"),
    ("severity", "severity"),
    ("resource", "resource"),
    ("operation", "operation"),
    ("receiveTimestamp", "receiveTimestamp"),
    ("protopayload_auditlog", "protoPayload"),
    ("protopayload_auditlog.servicedata_v1_iam", "protoPayload.serviceData"),
    ("protopayload_auditlog.requestJson", "protoPayload.request"),
    ("protopayload_auditlog.responseJson", "protoPayload.response"),
    ("protopayload_auditlog.metadataJson", "protoPayload.metadata"),
];

/// The parts of a record at other places; texts that are JSON are the objects they hold. What is not known keeps its name, for
/// rules may ask for it.
fn moved(record: &Object, moves: &[(&str, &str)]) -> Object {
    let is_moved = |key: &str| moves.iter().any(|it| it.0.split('.').next() == Some(key));
    let kept = record.iter().filter(|it| !is_moved(it.0) && !it.1.is_null());
    let mut found: Object = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
    for (from, to) in moves {
        if let Some(part) = at(record, from) {
            put(&mut found, to, unpacked(part));
        }
    }
    found
}

/// What stands at a path, but for nothing and the empty text.
fn at<'a>(object: &'a Object, path: &str) -> Option<&'a Value> {
    let found = match path.split_once('.') {
        None => object.get(path),
        Some((first, rest)) => at(object.get(first)?.as_object()?, rest),
    };
    found.filter(|it| !it.is_null() && it.as_str() != Some(""))
}

/// Puts a value at a path, unless something else than an object stands on the way.
fn put(object: &mut Object, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            object.insert(path.into(), value);
        }
        Some((first, rest)) => {
            if let Value::Object(inner) = object.entry(first).or_insert_with(|| json!({})) {
                put(inner, rest, value);
            }
        }
    }
}

fn unpacked(value: &Value) -> Value {
    let packed = value.as_str().filter(|it| it.starts_with(['{', '[']));
    packed.and_then(|it| serde_json::from_str(it).ok()).unwrap_or_else(|| value.clone())
}

/// Names of CloudTrail that are not written in small letters; requests come as texts, in which they are as they were.
const CAMELS: [&str; 52] = [
    "eventVersion",
    "eventTime",
    "eventSource",
    "eventName",
    "eventType",
    "eventID",
    "eventCategory",
    "awsRegion",
    "sourceIPAddress",
    "userAgent",
    "errorCode",
    "errorMessage",
    "requestParameters",
    "responseElements",
    "additionalEventData",
    "serviceEventDetails",
    "requestID",
    "readOnly",
    "managementEvent",
    "apiVersion",
    "recipientAccountId",
    "sharedEventID",
    "vpcEndpointId",
    "userIdentity",
    "principalId",
    "accountId",
    "accessKeyId",
    "userName",
    "invokedBy",
    "sessionContext",
    "sessionIssuer",
    "mfaAuthenticated",
    "creationDate",
    "identityProvider",
    "onBehalfOf",
    "userId",
    "ConsoleLogin",
    "PasswordUpdated",
    "MFAUsed",
    "SamlProviderArn",
    "UserName",
    "policyArn",
    "policyName",
    "policyDocument",
    "roleName",
    "groupName",
    "bucketName",
    "withDecryption",
    "trailName",
    "eventSelectors",
    "includeManagementEvents",
    "isMultiRegionTrail",
];

fn from_athena(record: Object) -> Option<Object> {
    fn spelled(value: Value) -> Value {
        match value {
            Value::Object(it) => {
                Value::Object(it.into_iter().map(|(key, value)| (camel(&key), spelled(value))).collect())
            }
            Value::Array(it) => it.into_iter().map(spelled).collect(),
            it => it,
        }
    }
    fn camel(key: &str) -> String {
        CAMELS.iter().find(|it| it.eq_ignore_ascii_case(key)).map_or(key, |it| it).to_string()
    }
    let spelled = |(key, value): (String, Value)| match unpacked(&value) {
        // What stood in a text kept its letters.
        it if value.is_string() => (camel(&key), it),
        it => (camel(&key), spelled(it)),
    };
    // A column without a value is a text that says so.
    Some(
        record
            .into_iter()
            .filter(|it| it.1.as_str().is_none_or(|it| !matches!(it, "" | "null")))
            .map(spelled)
            .collect(),
    )
}

fn from_office(record: Object) -> Option<Object> {
    let mut found = moved(&record, &OFFICE);
    let known = |key: &str| OFFICE.iter().any(|it| it.0 == key);
    found.extend(record.iter().filter(|it| !known(it.0)).map(|(key, value)| (key.clone(), unpacked(value))));
    Some(found)
}

/// Entra's tables in Log Analytics have columns by the names of Microsoft Graph, written large; what is an object comes as a
/// text where the table says so, or whoever fetched it.
fn from_entra(record: Object) -> Option<Object> {
    let mut found = Object::new();
    for (key, value) in record.iter().filter(|it| !it.1.is_null() && it.1.as_str() != Some("")) {
        let name = match key.as_str() {
            "IPAddress" | "IpAddress" => "ipAddress".to_string(),
            "LocationDetails" => "location".to_string(),
            // A country's name where Graph has the place; and names that other tables have as well.
            "Location" | "OperationName" | "TimeGenerated" | "Type" => key.clone(),
            _ => key.chars().take(1).flat_map(char::to_lowercase).chain(key.chars().skip(1)).collect(),
        };
        found.insert(name, unpacked(value));
    }
    let time = at(&found, "TimeGenerated").cloned();
    for name in ["activityDateTime", "createdDateTime"] {
        found.entry(name).or_insert_with(|| time.clone().unwrap_or_default());
    }
    if let Some(code) = at(&found, "resultType").filter(|_| at(&found, "status.errorCode").is_none()).cloned() {
        put(&mut found, "status.errorCode", code);
    }
    Some(found)
}

fn from_small_columns(record: Object) -> Option<Object> {
    Some(record.into_iter().map(|(key, value)| (key.to_ascii_uppercase(), value)).collect())
}

const TEXT_COLUMN: &str = "_s";

/// A table of one's own in Log Analytics: `actor_alternateId_s` was `actor.alternateId`, or `actor_alternateId`.
fn from_custom_table(record: Object) -> Option<Object> {
    let mut found = Object::new();
    for (key, value) in &record {
        let bare = ["_s", "_d", "_b", "_t", "_g"].iter().find_map(|it| key.strip_suffix(it));
        // A name of thousands of lines would become as many objects inside one another.
        if let Some(path) = bare.filter(|it| it.matches('_').count() < RESPELL_DEPTH_MAX) {
            put(&mut found, &path.replace('_', "."), unpacked(value));
        }
        found.insert(bare.unwrap_or(key).to_string(), unpacked(value));
    }
    Some(found)
}

/// Elastic's modules, each of which has an object of its own beside the ECS fields.
const MODULES: [&str; 7] = ["okta", "aws", "azure", "o365", "google_workspace", "github", "gcp"];

fn from_elastic(record: Object) -> Option<Object> {
    let part = |path: &str| at(&record, path).and_then(Value::as_object).cloned();
    let mut found = if let Some(okta) = part("okta") {
        camels(okta)
    } else if let Some(trail) = part("aws.cloudtrail") {
        let mut found = camels(trail);
        for (from, to) in [
            ("flattened.requestParameters", "requestParameters"),
            ("flattened.responseElements", "responseElements"),
            ("flattened.additionalEventdata", "additionalEventData"),
        ] {
            // What stands there is text in Java's manner; beside it is the object itself.
            let original = at(&found, from).cloned();
            found.remove(to);
            original.into_iter().for_each(|it| put(&mut found, to, it));
        }
        found
    } else if let Some((log, category)) =
        [("azure.signinlogs", "SignInLogs"), ("azure.auditlogs", "AuditLogs"), ("azure.activitylogs", "Administrative")]
            .iter()
            .find_map(|(path, category)| Some((part(path)?, *category)))
    {
        let mut found = camels(log);
        found.entry("category").or_insert(category.into());
        found
    } else if let Some(audit) = part("o365.audit") {
        audit.into_iter().map(|(key, value)| (key, named(value))).collect()
    } else if let Some(audit) = part("gcp.audit") {
        Object::from_iter([("protoPayload".to_string(), Value::Object(camels(audit)))])
    } else if let Some(github) = part("github") {
        github
    } else {
        return at(&record, "google_workspace").is_some().then(|| from_reports(&record));
    };
    let module = MODULES.iter().find(|it| record.contains_key(**it))?;
    for (_, from, to) in MOVED_BY_ECS.iter().filter(|it| it.0 == *module) {
        if let Some(it) = at(&record, from).filter(|_| at(&found, to).is_none()) {
            put(&mut found, to, it.clone());
        }
    }
    Some(found)
}

/// What the modules took out of a record because ECS has a name for it; the first that is there goes back.
const MOVED_BY_ECS: [(&str, &str, &str); 42] = [
    ("okta", "@timestamp", "published"),
    ("okta", "event.action", "eventType"),
    ("okta", "source.ip", "client.ipAddress"),
    ("okta", "client.ip", "client.ipAddress"),
    ("okta", "user.email", "actor.alternateId"),
    ("okta", "source.user.full_name", "actor.displayName"),
    ("aws", "@timestamp", "eventTime"),
    ("aws", "event.action", "eventName"),
    ("aws", "event.provider", "eventSource"),
    ("aws", "source.address", "sourceIPAddress"),
    ("aws", "source.ip", "sourceIPAddress"),
    ("aws", "user_agent.original", "userAgent"),
    ("aws", "cloud.region", "awsRegion"),
    ("aws", "cloud.account.id", "userIdentity.accountId"),
    ("aws", "user.name", "userIdentity.userName"),
    ("aws", "user.id", "userIdentity.principalId"),
    ("azure", "@timestamp", "time"),
    ("azure", "event.action", "operationName"),
    ("azure", "source.ip", "callerIpAddress"),
    ("azure", "azure.resource.id", "resourceId"),
    ("azure", "azure.activitylogs.identity.claims_initiated_by_user.name", "caller"),
    ("azure", "user.name", "caller"),
    ("o365", "@timestamp", "CreationTime"),
    ("o365", "event.action", "Operation"),
    ("o365", "user.id", "UserId"),
    ("o365", "source.ip", "ClientIP"),
    ("o365", "client.ip", "ClientIP"),
    ("github", "@timestamp", "@timestamp"),
    ("github", "event.action", "action"),
    ("github", "event.id", "_document_id"),
    ("github", "user.name", "actor"),
    ("github", "user.target.name", "user"),
    ("github", "client.ip", "actor_ip"),
    ("github", "source.ip", "actor_ip"),
    ("github", "organization.name", "org"),
    ("gcp", "@timestamp", "timestamp"),
    ("gcp", "log.logger", "logName"),
    ("gcp", "event.action", "protoPayload.methodName"),
    ("gcp", "service.name", "protoPayload.serviceName"),
    ("gcp", "user_agent.original", "protoPayload.requestMetadata.callerSuppliedUserAgent"),
    ("gcp", "client.user.email", "protoPayload.authenticationInfo.principalEmail"),
    ("gcp", "source.ip", "protoPayload.requestMetadata.callerIp"),
];

/// An event of Google's reports.
fn from_reports(record: &Object) -> Object {
    const PARAMETERS: [(&str, &str); 11] = [
        ("user.target.email", "USER_EMAIL"),
        ("google_workspace.admin.user.email", "USER_EMAIL"),
        ("google_workspace.admin.group.email", "GROUP_EMAIL"),
        ("google_workspace.admin.role.name", "ROLE_NAME"),
        ("google_workspace.admin.privilege.name", "PRIVILEGE_NAME"),
        ("google_workspace.admin.setting.name", "SETTING_NAME"),
        ("google_workspace.admin.new_value", "NEW_VALUE"),
        ("google_workspace.admin.old_value", "OLD_VALUE"),
        ("google_workspace.login.affected_email_address", "affected_email_address"),
        ("google_workspace.drive.visibility", "visibility"),
        ("google_workspace.login.type", "login_type"),
    ];
    let text = |path: &str| at(record, path).cloned().unwrap_or_default();
    let parameters =
        PARAMETERS.iter().filter_map(|(path, name)| Some(json!({"name": name, "value": at(record, path)?})));
    let mut parameters: Vec<Value> = parameters.collect();
    if let Some(it) = at(record, "google_workspace.login.is_suspicious") {
        parameters.push(json!({"name": "is_suspicious", "boolValue": it}));
    }
    let dataset = text("event.dataset");
    let application = dataset.as_str().and_then(|it| it.split('.').nth(1)).unwrap_or("admin");
    let actor = ["source.user.email", "user.email", "user.name"].iter().find_map(|it| at(record, it));
    let found = json!({
        "id": {"time": text("@timestamp"), "applicationName": application},
        "actor": {"email": actor},
        "ipAddress": text("source.ip"),
        "events": [{"name": text("event.action"), "type": text("google_workspace.event.type"), "parameters": parameters}],
    });
    match found {
        Value::Object(it) => it,
        _ => Object::new(),
    }
}

/// `user_principal_name` is `userPrincipalName`, and an object of `0`, `1`, `2` a list.
fn camels(object: Object) -> Object {
    fn camel(key: String) -> String {
        if !key.contains('_') || key.starts_with('_') {
            return key;
        }
        let mut words = key.split('_');
        let mut name = words.next().unwrap_or_default().to_string();
        for word in words {
            let mut letters = word.chars();
            name.extend(letters.next().map(|it| it.to_ascii_uppercase()));
            name.push_str(letters.as_str());
        }
        name
    }
    fn value(it: Value) -> Value {
        match it {
            Value::Object(it) if !it.is_empty() && it.keys().all(|it| it.bytes().all(|it| it.is_ascii_digit())) => {
                it.into_iter().map(|it| value(it.1)).collect()
            }
            Value::Object(it) => Value::Object(camels(it)),
            Value::Array(it) => it.into_iter().map(value).collect(),
            it => it,
        }
    }
    object.into_iter().map(|(key, it)| (camel(key), value(it))).collect()
}

/// Microsoft's lists of names and values, of which the module makes objects.
fn named(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let list = members.into_iter().map(|(name, value)| match value {
        Value::Object(mut it) => {
            it.insert("Name".into(), name.replace('_', ".").into());
            Value::Object(it)
        }
        it => json!({"Name": name, "Value": it}),
    });
    list.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json;

    #[test]
    fn a_name_of_many_lines_is_one_name() {
        for lines in [3, RESPELL_DEPTH_MAX, 400_000] {
            let name = format!("a{}_s", "_b".repeat(lines));
            let record = format!(r#"{{"TimeGenerated":"2025-04-12T08:02:55Z","{name}":"x"}}"#);
            let members: Vec<_> = json::entries(&record).collect();
            let spelt = firsts().filter(|it| it.0 == "TimeGenerated").map(|it| it.1).sum();
            let found = respelled(&record, &members, spelt);
            let is_nested = found.as_ref().is_some_and(|it| it.contains(r#""a":{"b""#));
            assert_eq!(is_nested, lines < RESPELL_DEPTH_MAX, "{lines}");
        }
    }
}
