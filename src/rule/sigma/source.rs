//! Sigma's log sources and field names in terms of our records.
//!
//! A Sigma rule says `product: okta` and `actor.alternateid`; a record says where it came from by what it looks like. So
//! a log source becomes a guard on `event.provider`, which lets through what no schema knows as well: a record that was
//! reshaped on its way, or a test of five fields, is judged by its fields alone, as every Sigma engine would. And a field becomes
//! all the places where the usual shippers put it. Where a record has it in one of them, the others are absent and say nothing.

use crate::expr::{Expr, Literal};

/// Where a rule's events come from, as it says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogSource {
    pub product: String,
    pub service: String,
    pub category: String,
}

/// Schemas that only say what is in a record, not whose it is.
const GENERIC: [&str; 9] = [
    "access",
    "access.http",
    "access.web",
    "ecs",
    "ocsf",
    "text.address",
    "text.login",
    "text.programs",
    "keyrunner.app",
];

/// Products (and services) whose records our schemas call something else: what their names begin with.
const PROVIDERS: &[(&str, &[&str])] = &[
    ("aws", &["aws."]),
    ("azure", &["azure.", "entra.", "m365"]),
    ("m365", &["m365", "entra."]),
    ("microsoft365", &["m365", "entra."]),
    ("gcp", &["gcp.", "google."]),
    ("google_workspace", &["google.", "gcp."]),
    ("linux", &["linux.", "openssh", "access"]),
    ("macos", &["macos", "linux.", "openssh"]),
    ("unix", &["linux.", "openssh"]),
    ("windows", &["windows"]),
    ("kubernetes", &["kubernetes", "gcp.", "azure.", "aws."]),
    ("bitbucket", &["bitbucket", "atlassian"]),
    ("cisco", &["cisco", "duo."]),
    ("1password", &["onepassword"]),
    ("azuread", &["entra.", "azure."]),
    ("entra", &["entra.", "azure."]),
    ("gsuite", &["google.", "gcp."]),
    ("gworkspace", &["google.", "gcp."]),
    ("o365", &["m365", "entra."]),
    ("office365", &["m365", "entra."]),
    ("vault", &["hashicorp.", "vault"]),
    ("hashicorp_vault", &["hashicorp."]),
    ("fortinet", &["fortinet", "fortigate"]),
    ("fortios", &["fortios", "fortigate"]),
    ("mongodb_atlas", &["mongodb."]),
    ("carbon_black", &["carbonblack"]),
    ("ping", &["pingfederate"]),
    ("apache", &["access", "apache"]),
    ("nginx", &["access", "nginx"]),
];

/// Event ids of the Windows categories, for records that have one; others are told by their fields.
const CATEGORIES: &[(&str, &[i64])] = &[
    ("process_creation", &[1, 4688]),
    ("file_change", &[2]),
    ("network_connection", &[3, 5156]),
    ("sysmon_status", &[4, 16]),
    ("process_termination", &[5]),
    ("driver_load", &[6]),
    ("image_load", &[7]),
    ("create_remote_thread", &[8]),
    ("raw_access_thread", &[9]),
    ("process_access", &[10]),
    ("file_event", &[11]),
    ("registry_add", &[12]),
    ("registry_delete", &[12]),
    ("registry_set", &[13]),
    ("registry_rename", &[14]),
    ("registry_event", &[12, 13, 14]),
    ("create_stream_hash", &[15]),
    ("pipe_created", &[17, 18]),
    ("wmi_event", &[19, 20, 21]),
    ("dns_query", &[22]),
    ("file_delete", &[23, 26]),
    ("clipboard_capture", &[24]),
    ("process_tampering", &[25]),
    ("file_block_executable", &[27]),
    ("file_executable_detected", &[29]),
    ("sysmon_error", &[255]),
    ("ps_module", &[4103]),
    ("ps_script", &[4104]),
    ("ps_classic_start", &[400]),
    ("ps_classic_provider_start", &[600]),
];

/// Channels of the Windows services, for records that name one.
const CHANNELS: &[(&str, &[&str])] = &[
    ("security", &["Security"]),
    ("system", &["System"]),
    ("application", &["Application"]),
    ("sysmon", &["Microsoft-Windows-Sysmon/Operational"]),
    ("powershell", &["Microsoft-Windows-PowerShell/Operational", "PowerShellCore/Operational"]),
    ("powershell-classic", &["Windows PowerShell"]),
    ("taskscheduler", &["Microsoft-Windows-TaskScheduler/Operational"]),
    ("wmi", &["Microsoft-Windows-WMI-Activity/Operational"]),
    ("windefend", &["Microsoft-Windows-Windows Defender/Operational"]),
    ("dns-server", &["DNS Server"]),
    ("bits-client", &["Microsoft-Windows-Bits-Client/Operational"]),
    ("ntlm", &["Microsoft-Windows-NTLM/Operational"]),
    ("terminalservices-localsessionmanager", &["Microsoft-Windows-TerminalServices-LocalSessionManager/Operational"]),
    ("firewall-as", &["Microsoft-Windows-Windows Firewall With Advanced Security/Firewall"]),
];

/// Fields of the head of a Windows event: not among its data.
const WINDOWS_HEAD: &[(&str, &[&str])] = &[
    (
        "EventID",
        &["EventID", "winlog.event_id", "Event.System.EventID", "Event.System.EventID.#text", "EventId", "event_id"],
    ),
    ("Channel", &["Channel", "winlog.channel", "Event.System.Channel"]),
    (
        "Provider_Name",
        &[
            "Provider_Name",
            "winlog.provider_name",
            "Event.System.Provider.#attributes.Name",
            "Event.System.Provider_Name",
            "ProviderName",
            "SourceName",
        ],
    ),
    ("ComputerName", &["ComputerName", "winlog.computer_name", "Event.System.Computer", "Computer", "Hostname"]),
    ("Computer", &["Computer", "winlog.computer_name", "Event.System.Computer", "ComputerName", "Hostname"]),
    ("Level", &["Level", "winlog.level", "Event.System.Level"]),
    ("Keywords", &["Keywords", "winlog.keywords", "Event.System.Keywords"]),
    ("Task", &["Task", "winlog.task", "Event.System.Task"]),
];

/// What the Windows security log calls what Sysmon calls otherwise.
const PROCESS_4688: &[(&str, &str)] = &[
    ("Image", "NewProcessName"),
    ("ParentImage", "ParentProcessName"),
    ("IntegrityLevel", "MandatoryLabel"),
    ("LogonId", "SubjectLogonId"),
    ("User", "SubjectUserName"),
];

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

const CLOUD: &[(&str, &str, &str)] = &[
    ("gcp", "gcp.audit.method_name", "protoPayload.methodName"),
    ("gcp", "gcp.audit.service_name", "protoPayload.serviceName"),
    ("gcp", "gcp.audit.resource_name", "protoPayload.resourceName"),
    ("gcp", "gcp.audit.authentication_info.principal_email", "protoPayload.authenticationInfo.principalEmail"),
    ("google_workspace", "eventName", "protoPayload.methodName"),
    ("google_workspace", "eventName", "events[].name"),
    ("google_workspace", "eventService", "protoPayload.serviceName"),
    ("kubernetes", "apiGroup", "objectRef.apiGroup"),
    ("kubernetes", "resource", "objectRef.resource"),
    ("kubernetes", "subresource", "objectRef.subresource"),
    ("kubernetes", "namespace", "objectRef.namespace"),
    ("kubernetes", "username", "user.username"),
];

/// Keys under which vendors keep lists of objects; a Sigma field walks through them without saying so.
const LISTS: &[&str] = &[
    "target",
    "targetResources",
    "modifiedProperties",
    "ModifiedProperties",
    "Parameters",
    "ExtendedProperties",
    "items",
    "authorizationInfo",
    "bindingDeltas",
    "events",
    "parameters",
    "containers",
    "initContainers",
    "volumes",
    "subjects",
    "conditionalAccessPolicies",
    "appliedConditionalAccessPolicies",
    "authenticationDetails",
    "resources",
    "rules",
    "ephemeralContainers",
    "Target",
    "Actor",
    "additionalDetails",
    "AdditionalDetails",
    "userAgents",
];

impl LogSource {
    /// The rule's own words, for people.
    pub fn describe(&self) -> String {
        let parts = [("product", &self.product), ("service", &self.service), ("category", &self.category)];
        let named = parts.iter().filter(|it| !it.1.is_empty()).map(|it| format!("{}: {}", it.0, it.1));
        named.collect::<Vec<_>>().join(", ")
    }

    fn is_windows(&self) -> bool {
        self.product == "windows"
    }

    /// Which events are of this source. None where the rule names none.
    pub fn guard(&self) -> Option<Expr> {
        let mut begins: Vec<&str> = Vec::new();
        let products = [self.product.as_str(), self.service.as_str()];
        for product in products.into_iter().filter(|it| !it.is_empty()) {
            match PROVIDERS.iter().find(|it| it.0 == product) {
                Some((_, known)) => begins.extend(*known),
                None if product == self.product => begins.push(product),
                None => {}
            }
        }
        if matches!(self.category.as_str(), "webserver" | "proxy") {
            begins.push("access");
        }
        begins.dedup();
        if begins.is_empty() && self.category.is_empty() {
            return None;
        }
        let provider = "event.provider".to_string();
        let mut parts: Vec<Expr> = begins.iter().map(|it| Expr::StartsWith(provider.clone(), it.to_string())).collect();
        parts.push(Expr::OneOf(provider.clone(), GENERIC.map(|it| Literal::Text(it.into())).into()));
        parts.push(Expr::Not(Box::new(Expr::Exists(provider))));
        let mut all = vec![Expr::Any(parts)];
        if self.is_windows() {
            all.extend(self.windows_guard());
        }
        Some(if all.len() == 1 { all.remove(0) } else { Expr::All(all) })
    }

    fn windows_guard(&self) -> Vec<Expr> {
        let mut all = Vec::new();
        let unless_absent = |field: &str, test: &dyn Fn(String) -> Expr| {
            let paths = head(field).unwrap_or_default();
            let absent = Expr::Not(Box::new(super::value::any(paths.iter().map(|it| Expr::Exists(it.clone())))));
            super::value::any(paths.iter().cloned().map(test).chain([absent]))
        };
        if let Some((_, ids)) = CATEGORIES.iter().find(|it| it.0 == self.category) {
            let ids: Vec<Literal> = ids.iter().map(|it| Literal::Int(*it)).collect();
            all.push(unless_absent("EventID", &|path| Expr::OneOf(path, ids.clone())));
        }
        if let Some((_, names)) = CHANNELS.iter().find(|it| it.0 == self.service) {
            let names: Vec<Literal> = names.iter().map(|it| Literal::Text(it.to_string())).collect();
            let test = |path: String| Expr::NoCase(Box::new(Expr::OneOf(path, names.clone())));
            all.push(unless_absent("Channel", &test));
        }
        all
    }

    /// The paths of records that a field's name means; the plain one first.
    pub fn paths(&self, field: &str) -> Vec<String> {
        let mut paths = vec![field.to_string()];
        if self.is_windows() {
            self.windows(field, &mut paths);
        }
        if matches!(self.category.as_str(), "webserver" | "proxy") {
            paths.extend(ACCESS.iter().filter(|it| it.0 == field).map(|it| it.1.to_string()));
        }
        for product in [self.product.as_str(), self.service.as_str()] {
            match product {
                "okta" => {
                    paths.extend(OKTA.iter().filter(|it| it.eq_ignore_ascii_case(field)).map(|it| it.to_string()))
                }
                "azure" => azure(field, &mut paths),
                "macos" | "linux" if self.category == "process_creation" => {
                    paths.push(format!("Event.EventData.{field}"));
                }
                _ => {}
            }
            // `google_workspace.admin`, `gcp.audit`: what stands before the dot is the product.
            let family = product.split('.').next().unwrap_or(product);
            paths.extend(CLOUD.iter().filter(|it| it.0 == family && it.1 == field).map(|it| it.2.to_string()));
        }
        if self.product == "gcp"
            && let Some(rest) = field.strip_prefix("data.")
        {
            paths.push(rest.to_string());
        }
        let through: Vec<String> = paths.iter().filter_map(|it| through_lists(it)).collect();
        paths.extend(through);
        let mut seen: Vec<String> = Vec::new();
        paths.retain(|it| {
            let new = !seen.contains(it);
            seen.push(it.clone());
            new
        });
        paths
    }

    /// The one path where records of this source mostly have a field.
    pub fn main_path(&self, field: &str) -> String {
        let access = matches!(self.category.as_str(), "webserver" | "proxy");
        if let Some((_, path)) = ACCESS.iter().find(|it| access && it.0 == field) {
            return path.to_string();
        }
        if self.product == "okta" {
            let known = OKTA.iter().find(|it| it.eq_ignore_ascii_case(field));
            return known.map_or(field, |it| *it).to_string();
        }
        let cloud = CLOUD.iter().find(|it| it.0 == self.product && it.1 == field);
        cloud.map_or(field, |it| it.2).to_string()
    }

    fn windows(&self, field: &str, paths: &mut Vec<String>) {
        if let Some(known) = head(field) {
            *paths = known;
            return;
        }
        let mut names = vec![field];
        if self.category == "process_creation" {
            names.extend(PROCESS_4688.iter().filter(|it| it.0 == field).map(|it| it.1));
        }
        *paths = names
            .iter()
            .flat_map(|it| {
                ["", "winlog.event_data.", "Event.EventData.", "EventData."].map(|below| format!("{below}{it}"))
            })
            .collect();
    }
}

fn head(field: &str) -> Option<Vec<String>> {
    let (_, paths) = WINDOWS_HEAD.iter().find(|it| it.0 == field)?;
    Some(paths.iter().map(|it| it.to_string()).collect())
}

/// The log tables spell `ResultType`, the event stream `resultType` or `properties.resultType`.
fn azure(field: &str, paths: &mut Vec<String>) {
    let below = field.strip_prefix("properties.").unwrap_or(field);
    let first = |case: fn(&char) -> char| {
        let mut chars = below.chars();
        chars.next().map(|it| case(&it)).into_iter().chain(chars).collect::<String>()
    };
    for name in [first(char::to_ascii_lowercase), first(char::to_ascii_uppercase), below.to_string()] {
        paths.push(name.clone());
        paths.push(format!("properties.{name}"));
    }
}

/// The path with `[]` behind keys that hold lists of objects.
fn through_lists(path: &str) -> Option<String> {
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
