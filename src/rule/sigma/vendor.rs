//! Names of cloud and identity records: as Sigma rules spell them, and as vendors deliver them.
//!
//! Rules were written against what some shipper made of a record: Elastic's modules (`gcp.audit.method_name`), Sentinel's tables
//! (`OperationName`), Splunk's lower case (`eventtype`), a record inside an envelope (`data.protoPayload`). Whoever pipes in the
//! vendor's own export has the same facts under other names, so a name means all the places where its fact is delivered.

use super::source::first_letter;

const ACCESS: &[(&str, &str)] = &[
    ("c-ip", "access.ip"),
    ("src_ip", "access.ip"),
    ("cs-username", "access.user"),
    ("cs-method", "access.method"),
    ("c-uri", "access.path"),
    ("cs-uri", "access.path"),
    ("cs-uri-stem", "access.path"),
    ("cs-uri-query", "access.path"),
    ("c-uri-query", "access.path"),
    ("sc-status", "access.status"),
    ("sc-bytes", "access.bytes"),
    ("cs-version", "access.protocol"),
    ("cs-user-agent", "access.user_agent"),
    ("c-useragent", "access.user_agent"),
    ("cs-referer", "access.referer"),
    ("cs-referrer", "access.referer"),
];

/// Okta's names as its records spell them; rules were long written in lower case.
const OKTA: &[&str] = &[
    "eventType",
    "displayMessage",
    "legacyEventType",
    "actor.alternateId",
    "actor.displayName",
    "actor.detailEntry",
    "client.userAgent.rawUserAgent",
    "client.ipAddress",
    "client.geographicalContext.country",
    "securityContext.isProxy",
    "securityContext.asNumber",
    "securityContext.asOrg",
    "securityContext.isp",
    "outcome.result",
    "outcome.reason",
    "authenticationContext.credentialType",
    "authenticationContext.externalSessionId",
    "debugContext.debugData.behaviors",
    "debugContext.debugData.threatSuspected",
    "debugContext.debugData.logOnlySecurityData",
    "debugContext.debugData.risk",
    "debugContext.debugData.privilegeGranted",
    "debugContext.debugData.url",
    "debugContext.debugData.requestUri",
    "target.displayName",
    "target.alternateId",
    "target.type",
    "target.id",
];

/// Azure's names of several words, for rules that write them in another case.
const AZURE: &[&str] = &[
    "activityDisplayName",
    "appDisplayName",
    "appId",
    "authenticationProtocol",
    "authenticationRequirement",
    "clientAppUsed",
    "conditionalAccessStatus",
    "deviceDetail.deviceId",
    "deviceDetail.isCompliant",
    "deviceDetail.isManaged",
    "deviceDetail.trustType",
    "homeTenantId",
    "initiatedBy",
    "initiatedBy.app.displayName",
    "initiatedBy.user.ipAddress",
    "initiatedBy.user.userPrincipalName",
    "ipAddress",
    "loggedByService",
    "networkLocationDetails",
    "operationName",
    "resourceDisplayName",
    "resourceId",
    "resourceTenantId",
    "resultDescription",
    "resultReason",
    "resultType",
    "riskEventType",
    "riskLevelDuringSignIn",
    "riskState",
    "targetResources",
    "targetResources.displayName",
    "targetResources.modifiedProperties",
    "targetResources.modifiedProperties.displayName",
    "targetResources.modifiedProperties.newValue",
    "targetResources.modifiedProperties.oldValue",
    "targetResources.type",
    "targetResources.userPrincipalName",
    "userAgent",
    "userPrincipalName",
];

/// What a name of a vendor's rules is in its records; the most usual first.
const NAMES: &[(&str, &str, &str)] = &[
    ("azure", "message", "operationName"),
    ("azure", "message", "operationName.value"),
    ("azure", "message", "operationName.localizedValue"),
    ("azure", "message", "OperationName"),
    ("azure", "message", "OperationNameValue"),
    ("azure", "message", "properties.activityDisplayName"),
    ("azure", "message", "activityDisplayName"),
    ("azure", "message", "Activity"),
    ("azure", "operationname", "Activity"),
    ("azure", "activitydisplayname", "Activity"),
    ("azure", "loggedbyservice", "Service"),
    ("azure", "resulttype", "properties.status.errorCode"),
    ("azure", "resulttype", "status.errorCode"),
    ("azure", "resulttype", "Sign-in error code"),
    ("azure", "resultdescription", "properties.status.failureReason"),
    ("azure", "resultdescription", "status.failureReason"),
    ("azure", "resultdescription", "Failure reason"),
    ("azure", "operationname", "operationName.value"),
    ("azure", "operationname", "OperationNameValue"),
    ("azure", "operationname", "activityDisplayName"),
    ("azure", "activitytype", "operationName"),
    ("azure", "activitytype", "OperationName"),
    ("azure", "activitytype", "properties.activityDisplayName"),
    ("azure", "activitytype", "activityDisplayName"),
    ("azure", "operationnamevalue", "operationName"),
    ("azure", "operationnamevalue", "operationName.value"),
    ("azure", "categoryvalue", "category"),
    ("azure", "categoryvalue", "category.value"),
    ("azure", "activitystatusvalue", "resultType"),
    ("azure", "activitystatusvalue", "status.value"),
    ("azure", "resourceprovidervalue", "resourceProviderName.value"),
    ("azure", "status", "properties.result"),
    ("azure", "status", "result"),
    ("azure", "status", "Result"),
    ("azure", "status", "status.value"),
    ("azure", "status", "ActivityStatusValue"),
    ("azure", "status", "resultType"),
    ("azure", "status", "properties.resultReason"),
    ("azure", "status", "resultReason"),
    ("azure", "status", "ResultReason"),
    ("azure", "status", "properties.status.additionalDetails"),
    ("azure", "status", "status.additionalDetails"),
    ("azure", "status", "Status.additionalDetails"),
    ("azure", "failure_status_reason", "properties.resultReason"),
    ("azure", "failure_status_reason", "resultReason"),
    ("azure", "failure_status_reason", "ResultReason"),
    ("azure", "eventsource", "Workload"),
    ("azure", "eventname", "Operation"),
    ("azure", "ipaddress", "IPAddress"),
    ("azure", "ipaddress", "callerIpAddress"),
    ("azure", "calleripaddress", "properties.initiatedBy.user.ipAddress"),
    ("azure", "calleripaddress", "initiatedBy.user.ipAddress"),
    ("azure", "calleripaddress", "InitiatedBy.user.ipAddress"),
    ("azure", "calleripaddress", "ipAddress"),
    ("azure", "calleripaddress", "IPAddress"),
    ("azure", "username", "properties.userPrincipalName"),
    ("azure", "username", "userPrincipalName"),
    ("azure", "clientapp", "properties.clientAppUsed"),
    ("azure", "clientapp", "clientAppUsed"),
    ("azure", "location", "properties.location.countryOrRegion"),
    ("azure", "location", "location.countryOrRegion"),
    ("m365", "eventSource", "Workload"),
    ("m365", "eventName", "Operation"),
    ("m365", "eventName", "Name"),
    ("m365", "status", "ResultStatus"),
    ("m365", "status", "Status"),
    ("m365", "user.email", "UserId"),
    ("aws", "src_ip", "sourceIPAddress"),
    ("gcp", "gcp.audit.authentication_info.principal_email", "protoPayload.authenticationInfo.principalEmail"),
    ("google_workspace", "eventName", "protoPayload.metadata.event[].eventName"),
    ("google_workspace", "eventName", "events[].name"),
    ("google_workspace", "eventName", "protoPayload.methodName"),
    ("google_workspace", "eventService", "protoPayload.serviceName"),
    ("google_workspace", "protoPayload.metadata.event.eventName", "events[].name"),
    ("auditd", "syscall", "SYSCALL"),
    ("auditd", "auid", "AUID"),
    ("auditd", "uid", "UID"),
    ("kubernetes", "apiGroup", "objectRef.apiGroup"),
    ("kubernetes", "resource", "objectRef.resource"),
    ("kubernetes", "subresource", "objectRef.subresource"),
    ("kubernetes", "namespace", "objectRef.namespace"),
    ("kubernetes", "username", "user.username"),
    ("kubernetes", "hostPath", "requestObject.spec.volumes[].hostPath"),
    ("kubernetes", "capabilities", "requestObject.spec.containers[].securityContext.capabilities"),
];

/// Keys under which vendors keep lists of objects; a Sigma field walks through them without saying so.
const LISTS: &[&str] = &[
    "AdditionalDetails",
    "Actor",
    "ExtendedProperties",
    "ModifiedProperties",
    "Parameters",
    "Target",
    "TargetResources",
    "additionalDetails",
    "affectedObjects",
    "alloweds",
    "allowed",
    "appliedConditionalAccessPolicies",
    "auditConfigDeltas",
    "authenticationDetails",
    "authorizationInfo",
    "bindingDeltas",
    "bindings",
    "changedValues",
    "conditionalAccessPolicies",
    "containerDefinitions",
    "containerOverrides",
    "containers",
    "denieds",
    "ephemeralContainers",
    "event",
    "events",
    "extraAttributes",
    "initContainers",
    "items",
    "OperationProperties",
    "modifiedProperties",
    "parameter",
    "parameters",
    "resources",
    "rules",
    "serviceAccountDelegationInfo",
    "subjects",
    "target",
    "targetResources",
    "userAgents",
    "volumes",
];

/// Keys that hold whole objects, in which rules look for words as if they were texts.
const OBJECTS: &[&str] = &[
    "AppAccessContext",
    "InitiatedBy",
    "additionalEventData",
    "debugData",
    "details",
    "initiatedBy",
    "metadata",
    "request",
    "requestObject",
    "requestParameters",
    "response",
    "responseElements",
    "responseObject",
    "serviceEventDetails",
    "userIdentity",
];

/// Where our reader of access logs puts a field.
pub fn access(field: &str) -> Option<&'static str> {
    ACCESS.iter().find(|it| it.0 == field).map(|it| it.1)
}

/// The place of a field that is mostly meant.
pub fn main(family: &str, field: &str) -> Option<&'static str> {
    if family == "okta" {
        return OKTA.iter().copied().find(|it| it.eq_ignore_ascii_case(field));
    }
    let known = NAMES.iter().find(|it| it.0 == vendor(family) && it.1 == field && family != "azure");
    known.map(|it| it.2)
}

fn vendor(family: &str) -> &str {
    match family {
        "microsoft365" | "o365" | "office365" => "m365",
        "azuread" | "entra" => "azure",
        "gworkspace" | "gsuite" => "google_workspace",
        it => it,
    }
}

/// Adds the places where a vendor's records have a field.
pub fn add(family: &str, field: &str, paths: &mut Vec<String>) {
    let family = vendor(family);
    let known = paths.len();
    let mut push = |it: String| paths.push(it);
    match family {
        "okta" => {
            // Elastic spells `okta.event_type` what Okta calls `eventType`.
            let field = field.strip_prefix("okta.").map_or_else(|| field.to_string(), camel);
            OKTA.iter().filter(|it| it.eq_ignore_ascii_case(&field)).for_each(|it| push(it.to_string()));
        }
        "azure" => azure(field, &mut push),
        "gcp" => gcp(field, &mut push),
        "m365" => field.strip_prefix("o365.audit.").into_iter().for_each(|it| push(it.to_string())),
        // Streams put a record below `data`, exports do not.
        "auth0" => push(field.strip_prefix("data.").map_or_else(|| format!("data.{field}"), str::to_string)),
        _ => {}
    }
    let name = if family == "azure" { below(field).to_lowercase() } else { field.to_string() };
    NAMES.iter().filter(|it| it.0 == family && it.1 == name).for_each(|it| push(it.2.to_string()));
    if family == "google_workspace" && paths.len() == known && !field.starts_with("protoPayload.s") {
        parameters(field, paths);
    }
}

/// `ConsentContext.IsAdminConsent` is the name of an attribute of what was changed, `additionalDetails.x` a detail called x.
pub fn attributes(field: &str) -> Vec<String> {
    let below = below(field);
    let Some((first, name)) = below.split_once('.') else { return Vec::new() };
    if below.contains(['[', ']', '=']) {
        return Vec::new();
    }
    if first.eq_ignore_ascii_case("additionalDetails") {
        return ["properties.additionalDetails", "additionalDetails", "AdditionalDetails"]
            .map(|it| format!("{it}[key={name}].value"))
            .into();
    }
    let is_object = LISTS.iter().chain(OBJECTS).any(|it| it.eq_ignore_ascii_case(first));
    if is_object || !first.starts_with(|it: char| it.is_ascii_uppercase()) || first.eq_ignore_ascii_case("DeviceDetail")
    {
        return Vec::new();
    }
    ["properties.targetResources", "targetResources", "TargetResources"]
        .map(|it| format!("{it}[].modifiedProperties[displayName={below}].newValue"))
        .into()
}

fn below(field: &str) -> &str {
    field.strip_prefix("properties.").unwrap_or(field)
}

/// The log tables spell `ResultType`, the event stream `resultType` or `properties.resultType`.
fn azure(field: &str, push: &mut dyn FnMut(String)) {
    let below = below(field);
    let known = AZURE.iter().find(|it| it.eq_ignore_ascii_case(below)).copied();
    let cases = |name: &str| [char::to_ascii_lowercase, char::to_ascii_uppercase].map(|it| first_letter(name, it));
    for name in cases(below).into_iter().chain([below.to_string()]).chain(known.into_iter().flat_map(cases)) {
        push(name.clone());
        push(format!("properties.{name}"));
    }
}

/// Elastic spells `gcp.audit.method_name` what Google calls `protoPayload.methodName`; the envelope of Pub/Sub is `data`, and
/// some rules have the entry's own keys below `protoPayload`.
fn gcp(field: &str, push: &mut dyn FnMut(String)) {
    let mut rest = field;
    if let Some(it) = field.strip_prefix("data.") {
        rest = it;
        push(rest.to_string());
    }
    if let Some(it) = rest.strip_prefix("protoPayload.").filter(|it| it.starts_with("resource.") || *it == "logName") {
        push(it.to_string());
    }
    if let Some(it) = rest.strip_prefix("gcp.audit.") {
        push(format!("protoPayload.{}", camel(it)));
    }
}

fn camel(name: &str) -> String {
    let mut out = String::new();
    let mut upper = false;
    for it in name.chars() {
        match it {
            '_' => upper = true,
            it => {
                out.push(if upper { it.to_ascii_uppercase() } else { it });
                upper = false;
            }
        }
    }
    out
}

/// What Google Workspace tells of an event stands in a list of named parameters.
fn parameters(field: &str, paths: &mut Vec<String>) {
    let name = field.rsplit('.').next().unwrap_or(field);
    if name.contains(['[', ']', '=']) {
        return;
    }
    let mut names = vec![name.to_string(), name.to_ascii_uppercase()];
    names.dedup();
    for name in names {
        for list in ["events[].parameters", "protoPayload.metadata.event[].parameter"] {
            for value in ["value", "boolValue", "multiValue", "multiStrValue"] {
                paths.push(format!("{list}[name={name}].{value}"));
            }
        }
    }
}

/// Whether vendors keep a list or an object under the field's last key.
pub fn is_container(field: &str) -> bool {
    let last = field.rsplit('.').next().unwrap_or(field);
    LISTS.contains(&last) || OBJECTS.contains(&last)
}

/// Whether we know under which keys the vendor keeps lists.
pub fn is_known(family: &str) -> bool {
    const KNOWN: [&str; 9] =
        ["aws", "azure", "bitbucket", "gcp", "github", "google_workspace", "kubernetes", "m365", "okta"];
    KNOWN.contains(&vendor(family))
}

/// The path through a list of objects that have its last key: `dns.answers[].data`.
pub fn through_last(path: &str) -> Option<String> {
    let (before, last) = path.rsplit_once('.').filter(|_| !path.contains('['))?;
    Some(format!("{before}[].{last}"))
}

/// The path with `[]` behind keys that hold lists of objects.
pub fn through_lists(path: &str) -> Option<String> {
    if path.contains('[') {
        return None;
    }
    let keys: Vec<&str> = path.split('.').collect();
    let (last, before) = keys.split_last()?;
    let mut out = String::new();
    for key in before {
        out.push_str(key);
        out.push_str(if LISTS.contains(key) { "[]." } else { "." });
    }
    out.push_str(last);
    (out != path).then_some(out)
}
