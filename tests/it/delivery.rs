//! A record means the same however it was delivered: as the vendor wrote it, or inside what shippers, queues and exports put
//! around it.
//!
//! Every example log is normalised as it is and again in each wrapper; nothing but the time of lines that name no year may
//! differ.

use std::fs;

use serde_json::{Map, Value, json};

use crate::program::tripline_with;

const AT: &str = "2025-04-12T08:03:00.000Z";

/// A shipper's name, and what it makes of a record.
type Wrapper = (&'static str, fn(&str) -> String);

/// Around any line, as text.
const TEXTS: [Wrapper; 18] = [
    ("filebeat", |it| {
        json!({"@timestamp": AT, "message": it, "event": {"dataset": "x"}, "ecs": {"version": "8.0.0"}}).to_string()
    }),
    ("event.original", |it| json!({"@timestamp": AT, "event": {"original": it}}).to_string()),
    ("event.original with a dot", |it| json!({"@timestamp": AT, "event.original": it}).to_string()),
    ("cloudwatch", |it| {
        json!({"messageType": "DATA_MESSAGE", "logGroup": "g", "logEvents": [{"id": "1", "message": it}]}).to_string()
    }),
    ("splunk hec", |it| json!({"time": 1744444980.1, "host": "h", "sourcetype": "s", "event": it}).to_string()),
    ("splunk result", |it| json!({"preview": false, "result": {"_raw": it, "host": "h"}}).to_string()),
    ("fluentd", |it| json!({"log": format!("{it}\n"), "stream": "stdout", "time": AT}).to_string()),
    ("vector", |it| json!({"file": "/var/log/x", "host": "h", "message": it, "source_type": "file"}).to_string()),
    ("queue", |it| json!({"messageId": "m", "receiptHandle": "r", "body": it, "attributes": {}}).to_string()),
    ("topic", |it| json!({"Type": "Notification", "TopicArn": "t", "Message": it, "Timestamp": AT}).to_string()),
    ("kafka", |it| json!({"topic": "t", "partition": 0, "offset": 5, "payload": it}).to_string()),
    ("kafka value", |it| json!({"topic": "t", "partition": 0, "offset": 5, "key": null, "value": it}).to_string()),
    ("textPayload", |it| json!({"insertId": "i", "logName": "projects/p/logs/x", "textPayload": it}).to_string()),
    ("graylog", |it| json!({"version": "1.1", "host": "h", "short_message": it}).to_string()),
    ("RawData", |it| json!({"TimeGenerated": AT, "Type": "X_CL", "RawData": it}).to_string()),
    ("RawEventData", |it| json!({"Timestamp": AT, "ActionType": "x", "RawEventData": it}).to_string()),
    ("loki", |it| json!({"line": it, "labels": {"job": "x"}}).to_string()),
    ("opentelemetry", |it| {
        json!({"resourceLogs": [{"resource": {}, "scopeLogs": [{"scope": {}, "logRecords": [{"body": {"stringValue": it}}]}]}]}).to_string()
    }),
];

/// Around a record that is JSON, as JSON.
const OBJECTS: [Wrapper; 18] = [
    ("Records", |it| format!("{{\"Records\":[{it}]}}")),
    ("an array", |it| format!("[{it}]")),
    ("value", |it| format!("{{\"@odata.context\":\"x\",\"value\":[{it}]}}")),
    ("items", |it| format!("{{\"kind\":\"x\",\"items\":[{it}]}}")),
    ("data", |it| format!("{{\"object\":\"list\",\"data\":[{it}],\"has_more\":false}}")),
    ("logs", |it| format!("{{\"logs\":[{it}],\"total\":1}}")),
    ("entries", |it| format!("{{\"entries\":[{it}]}}")),
    ("hec event", |it| format!("{{\"time\":1744444980.1,\"host\":\"h\",\"event\":{it}}}")),
    ("_source", |it| format!("{{\"_index\":\"i\",\"_id\":\"a\",\"_source\":{it}}}")),
    ("hits", |it| format!("{{\"took\":1,\"hits\":{{\"hits\":[{{\"_index\":\"i\",\"_source\":{it}}}]}}}}")),
    ("eventbridge", |it| format!("{{\"version\":\"0\",\"detail-type\":\"x\",\"source\":\"y\",\"detail\":{it}}}")),
    ("jsonPayload", |it| format!("{{\"insertId\":\"i\",\"logName\":\"l\",\"jsonPayload\":{it}}}")),
    ("a prefix", |it| format!("{{\"@timestamp\":\"{AT}\",\"acme\":{{\"audit\":{it}}},\"host\":{{\"name\":\"h\"}}}}")),
    ("message", |it| format!("{{\"@timestamp\":\"{AT}\",\"message\":{it}}}")),
    ("syslog", |it| format!("<134>1 {AT} host app 12 - - {it}")),
    ("message in syslog", |it| format!("<134>1 {AT} host app 12 - - {}", json!({"@timestamp": AT, "message": it}))),
    ("old syslog", |it| format!("<134>Apr 12 08:03:00 host app: {it}")),
    ("a column", |it| format!("\"{AT}\",\"{}\"", it.replace('"', "\"\""))),
];

#[test]
fn text_in_a_wrapper_is_the_same_record() {
    check(&examples(|_| true), &TEXTS);
}

#[test]
fn json_in_a_wrapper_is_the_same_record() {
    check(&examples(|it| it.starts_with('{')), &OBJECTS);
}

/// Tables and shippers that rename what is in a record.
#[test]
fn a_renamed_record_is_the_same_record() {
    check(&examples(|it| it.contains("\"eventName\"")), &[("athena", |it| small(serde_json::from_str(it).unwrap()))]);
    check(&examples(|it| it.contains("\"legacyEventType\"")), &[("log analytics", columns)]);
    let audit = examples(|it| it.contains("\"protoPayload\""));
    check(
        &audit,
        &[("bigquery", |it| {
            it.replace("\"protoPayload\"", "\"protopayload_auditlog\"")
                .replace("\"serviceData\"", "\"servicedata_v1_iam\"")
        })],
    );
}

/// As Athena has it: names in small letters, and requests as texts.
fn small(record: Value) -> String {
    fn names(value: Value) -> Value {
        match value {
            Value::Object(it) => it.into_iter().map(|(key, value)| (key.to_lowercase(), names(value))).collect(),
            Value::Array(it) => it.into_iter().map(names).collect(),
            it => it,
        }
    }
    const PACKED: [&str; 4] = ["requestParameters", "responseElements", "additionalEventData", "serviceEventDetails"];
    let column = |(key, value): (String, Value)| match PACKED.contains(&key.as_str()) {
        true => (key.to_lowercase(), Value::from(value.to_string())),
        false => (key.to_lowercase(), names(value)),
    };
    let Value::Object(members) = record else { panic!("{record}") };
    members.into_iter().map(column).collect::<Value>().to_string()
}

/// As Log Analytics has it: one column a value, named by where it stood and what it is.
fn columns(record: &str) -> String {
    let Value::Object(members) = flat("", serde_json::from_str(record).unwrap()) else { panic!("{record}") };
    let column = |(key, value): (String, Value)| match value {
        Value::Array(it) => (format!("{}_s", key.replace('.', "_")), Value::from(Value::from(it).to_string())),
        it => (format!("{}_s", key.replace('.', "_")), it),
    };
    let mut found: Map<String, Value> = members.into_iter().map(column).collect();
    found.insert("TimeGenerated".into(), AT.into());
    Value::from(found).to_string()
}

/// What each pipeline makes of a record, and what it says.
#[test]
fn what_pipelines_renamed_is_understood() {
    let cases = [
        (
            json!({"TimeGenerated": AT, "EventName": "StopLogging", "EventSource": "cloudtrail.amazonaws.com",
                "UserIdentityType": "IAMUser", "UserIdentityUserName": "ann", "SourceIpAddress": "203.0.113.9",
                "RequestParameters": "{\"name\":\"main\"}", "ErrorCode": ""}),
            ["aws.cloudtrail", "audit.disabled", "ann"],
        ),
        (
            json!({"TimeGenerated": AT, "EventName": "StopLogging", "EventSource": "cloudtrail.amazonaws.com",
                "UserIdentityType": "IAMUser", "UserIdentityUserName": "ann", "ErrorCode": "AccessDenied"}),
            ["aws.cloudtrail", "other", "ann"],
        ),
        (
            json!({"TimeGenerated": AT, "OfficeWorkload": "Exchange", "Operation": "Set-Mailbox", "ResultStatus": "True",
                "UserId": "ann", "Parameters": "[{\"Name\":\"AuditEnabled\",\"Value\":\"False\"}]"}),
            ["m365", "audit.disabled", "ann"],
        ),
        (
            json!({"TimeGenerated": AT, "OperationNameValue": "MICROSOFT.INSIGHTS/DIAGNOSTICSETTINGS/DELETE",
                "ActivityStatusValue": "Success", "Caller": "ann", "CallerIpAddress": "203.0.113.9", "CategoryValue": "Administrative"}),
            ["azure.activity", "audit.disabled", "ann"],
        ),
        (
            json!({"TimeGenerated": AT, "ActivityDisplayName": "Add member to role", "OperationName": "Add member to role", "Result": "success",
                "InitiatedBy": r#"{"user":{"userPrincipalName":"ann"}}"#,
                "TargetResources": r#"[{"type":"User","modifiedProperties":[{"displayName":"Role.DisplayName","newValue":"\"Global Administrator\""}]}]"#}),
            ["entra.audit", "role.admin_assigned", "ann"],
        ),
        // A role that only reads.
        (
            json!({"TimeGenerated": AT, "ActivityDisplayName": "Add member to role", "OperationName": "Add member to role", "Result": "success",
                "InitiatedBy": {"user": {"userPrincipalName": "ann"}}, "TargetResources": [{"type": "User",
                    "modifiedProperties": [{"displayName": "Role.DisplayName", "newValue": "\"Directory Readers\""}]}]}),
            ["entra.audit", "role.assigned", "ann"],
        ),
        (
            json!({"TimeGenerated": AT, "OperationName": "Sign-in activity", "ResultType": "50126", "UserPrincipalName": "ann",
                "IPAddress": "203.0.113.9", "Status": r#"{"errorCode":50126}"#, "LocationDetails": r#"{"countryOrRegion":"FR"}"#}),
            ["entra.signin", "login.failure", "ann"],
        ),
        (
            json!({"TimeGenerated": AT, "OperationName": "Sign-in activity", "ResultType": "0", "ServicePrincipalName": "builder"}),
            ["entra.signin", "login.success", "builder"],
        ),
        (
            json!({"TimeGenerated": AT, "RiskEventType": "leakedCredentials", "RiskLevel": "high", "UserPrincipalName": "ann"}),
            ["entra.signin", "other", "ann"],
        ),
        (
            json!({"query_text": "CREATE USER bob", "query_type": "CREATE_USER", "user_name": "ann", "execution_status": "SUCCESS"}),
            ["snowflake", "user.created", "ann"],
        ),
        (
            json!({"@timestamp": AT, "event": {"action": "user.mfa.factor.deactivate"}, "source": {"ip": "203.0.113.9"},
                "okta": {"event_type": "user.mfa.factor.deactivate", "actor": {"alternate_id": "ann"}, "outcome": {"result": "SUCCESS"}}}),
            ["okta", "mfa.disabled", "ann"],
        ),
        (
            json!({"@timestamp": AT, "event": {"action": "ConsoleLogin", "provider": "signin.amazonaws.com"}, "user": {"name": "ann"},
                "aws": {"cloudtrail": {"user_identity": {"type": "IAMUser"}, "error_message": "Failed authentication",
                    "response_elements": "{ConsoleLogin=Failure}", "flattened": {"response_elements": {"ConsoleLogin": "Failure"}}}}}),
            ["aws.cloudtrail", "login.failure", "ann"],
        ),
        (
            json!({"@timestamp": AT, "event": {"action": "Add member to role"}, "user": {"name": "ann"},
                "azure": {"auditlogs": {"operation_name": "Add member to role", "properties": {"result": "success",
                    "initiated_by": {"user": {"user_principal_name": "ann"}}, "target_resources": {"0": {"type": "User",
                        "modified_properties": {"0": {"display_name": "Role.DisplayName", "new_value": "\"Global Administrator\""}}}}}}}}),
            ["entra.audit", "role.admin_assigned", "ann"],
        ),
        (
            json!({"@timestamp": AT, "event": {"action": "MICROSOFT.INSIGHTS/DIAGNOSTICSETTINGS/DELETE"}, "user": {"name": "ann"},
                "azure": {"resource": {"id": "/subscriptions/s"}, "activitylogs": {"result_type": "Success"}}}),
            ["azure.activity", "audit.disabled", "ann"],
        ),
        (
            json!({"@timestamp": AT, "event": {"action": "Add member to role."}, "user": {"id": "ann"},
                "o365": {"audit": {"Workload": "AzureActiveDirectory", "ModifiedProperties": {"Role_DisplayName": {"NewValue": "Global Administrator"}}}}}),
            ["m365", "role.admin_assigned", "ann"],
        ),
        (
            json!({"@timestamp": AT, "event": {"action": "CHANGE_PASSWORD", "dataset": "google_workspace.admin"},
                "source": {"user": {"email": "ann"}}, "google_workspace": {"admin": {"user": {"email": "bob"}}}}),
            ["google.workspace", "password.reset", "ann"],
        ),
        (
            json!({"@timestamp": AT, "event": {"action": "org.disable_two_factor_requirement"}, "user": {"name": "ann"},
                "github": {"org": "shop", "actor_id": 1}}),
            ["github", "mfa.disabled", "ann"],
        ),
        (
            json!({"@timestamp": AT, "event": {"action": "x"}, "gcp": {"audit": {"method_name": "google.iam.admin.v1.CreateServiceAccountKey",
                "service_name": "iam.googleapis.com", "authentication_info": {"principal_email": "ann"}}}}),
            ["gcp.audit", "credential.created", "ann"],
        ),
        // Newer modules keep what is done and by which service in the fields of ECS alone.
        (
            json!({"@timestamp": AT, "event": {"action": "google.iam.admin.v1.CreateServiceAccountKey"}, "service": {"name": "iam.googleapis.com"},
                "client": {"user": {"email": "ann"}}, "gcp": {"audit": {"resource_name": "projects/p1"}}}),
            ["gcp.audit", "credential.created", "ann"],
        ),
        // Nobody's, although one key is somebody's.
        (json!({"@timestamp": AT, "event": {"action": "x"}, "okta": "yes"}), ["ecs", "other", ""]),
    ];
    let found = normalized(cases.iter().map(|it| it.0.to_string()));
    for ((record, expected), found) in cases.iter().zip(found) {
        let said = [&found["event"]["provider"], &found["activity"], &found["user"]["name"]];
        assert_eq!(&said.map(|it| it.as_str().unwrap_or_default()), expected, "{record}");
    }
}

/// Keys may be written with the dots that nesting stands for.
#[test]
fn flat_keys_are_the_same_record() {
    let lines = examples(|it| it.starts_with('{') && !it.contains("\"attr\":") && !it.contains("requestUri"));
    check(&lines, &[("flat", |it| flat("", serde_json::from_str(it).unwrap()).to_string())]);
}

fn flat(prefix: &str, object: Map<String, Value>) -> Value {
    let mut all = Map::new();
    for (key, value) in object {
        let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                all.extend(flat(&key, inner).as_object().unwrap().clone());
            }
            value => drop(all.insert(key, value)),
        }
    }
    Value::Object(all)
}

/// The lines of all example logs that are wanted.
pub fn examples(wanted: fn(&str) -> bool) -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/logs");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    let texts: Vec<String> = files.iter().map(|it| fs::read_to_string(it).unwrap()).collect();
    let lines = texts.iter().flat_map(|it| it.lines()).filter(|it| !it.trim().is_empty() && wanted(it));
    lines.map(str::to_string).collect()
}

/// Or rules on the record's own paths would see one moment.
#[test]
fn a_record_that_nothing_knows_has_the_time_that_it_names() {
    let lines = [
        r#"{"time":"2025-04-12T10:02:55+02:00","shelf":7}"#,
        r#"{"shelf":7,"ts":1744444975}"#,
        r#"{"shelf":7,"timestamp":"soon","created_at":"2025-04-12 08:02:55"}"#,
        "<14>1 2025-04-12T08:02:55Z h app - - - shelf 7 is full",
        r#"{"shelf":7,"time":12}"#,
    ];
    let done = tripline_with(&["normalize"], lines.join("\n").as_bytes()).succeeds();
    let found: Vec<Value> = done.stdout.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert!(found.iter().all(|it| it["error"]["message"].is_string()), "{found:?}");
    let time = Some(&Value::from("2025-04-12T08:02:55Z"));
    let times: Vec<_> = found.iter().map(|it| it.get("@timestamp")).collect();
    assert_eq!(times, [time, time, time, time, None]);
}

fn check(lines: &[String], wrappers: &[Wrapper]) {
    // In one run, for loading the pack takes longer than reading all this.
    let all = wrappers.iter().flat_map(|(_, wrap)| lines.iter().map(|it| wrap(it)));
    let mut found = normalized(lines.iter().cloned().chain(all)).into_iter();
    let plain = normalized(lines.iter().cloned());
    assert!(plain.len() >= lines.len(), "{} of {}", plain.len(), lines.len());
    for name in std::iter::once("nothing").chain(wrappers.iter().map(|it| it.0)) {
        for was in &plain {
            assert_eq!(Some(was), found.next().as_ref(), "in {name}");
        }
    }
    assert_eq!(found.next(), None);
}

/// What is known of each record, without what a shipper may know better: the time, the host and its process.
fn normalized(lines: impl Iterator<Item = String>) -> Vec<Value> {
    let input = lines.collect::<Vec<_>>().join("\n");
    let done = tripline_with(&["normalize"], input.as_bytes()).succeeds();
    let parse = |it: &str| {
        let mut event: Value = serde_json::from_str(it).unwrap();
        let known = event.as_object_mut().unwrap();
        known.retain(|it, _| !["@timestamp", "host", "message", "process", "service"].contains(&it.as_str()));
        event
    };
    done.stdout.lines().map(parse).collect()
}

/// Records leave out whom it was done to, or who did it: an alert is about whoever is known, under the field's own name.
#[test]
fn a_lone_event_is_about_whoever_is_known() {
    let record = |actor: &str, target: &str, address: &str| {
        format!(
            r#"{{"eventType":"user.account.privilege.grant","published":"2025-04-12T08:03:00.000Z","actor":{{{actor}}},"client":{{{address}}},"target":[{target}],"outcome":{{"result":"SUCCESS"}},"debugContext":{{"debugData":{{"privilegeGranted":"Super administrator"}}}},"uuid":"00000005-0000-4000-8000-000000000005","version":"0","legacyEventType":"","displayMessage":"grant"}}"#
        ) + "\n"
    };
    let check = |line: String, field: &str, value: &str| {
        let done =
            tripline_with(&["replay", "--rule", "admin-assigned", "--firing-only", "-q"], line.as_bytes()).succeeds();
        let alert: Value =
            serde_json::from_str(done.stdout.trim()).unwrap_or_else(|it| panic!("{it}: {}", done.stdout));
        assert_eq!(alert["entity"], serde_json::json!({field: value}), "{line}");
        assert!(!alert["summary"].as_str().unwrap().contains("entity."), "{alert}");
    };
    let ann = r#""id":"00u1","type":"User","alternateId":"ann@example.com","displayName":"ann""#;
    let bob = r#"{"id":"00u2","type":"User","alternateId":"bob@example.com","displayName":"bob"}"#;
    let address = r#""ipAddress":"198.51.100.7""#;
    check(record(ann, bob, address), "user.target.name", "bob@example.com");
    check(record(ann, "", address), "user.name", "ann@example.com");
    check(record("", "", address), "source.ip", "198.51.100.7");
    check(record("", "", ""), "event.provider", "okta");
}
