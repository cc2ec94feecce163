//! Sigma's log sources and field names in terms of our records.
//!
//! A Sigma rule says `product: okta` and `actor.alternateid`; a record says where it came from by what it looks like. So
//! a log source becomes a guard on `event.provider`, which lets through what no schema knows as well: a record that was
//! reshaped on its way, or a test of five fields, is judged by its fields alone, as every Sigma engine would. And a field becomes
//! all the places where the usual shippers put it. Where a record has it in one of them, the others are absent and say nothing.

use super::{portal, vendor, windows};
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

/// Sigma's name for Entra's log of sign-ins.
const SIGNIN: &str = "signinlogs";

const SYSMON_LINUX: &str = "Linux-Sysmon/Operational";

/// Products (and services) whose records our schemas call something else: what their names begin with.
const PROVIDERS: &[(&str, &[&str])] = &[
    ("aws", &["aws."]),
    ("azure", &["azure.", "entra.", "m365"]),
    // Whoever asks what a sign-in is not must not get everything else that Microsoft logs.
    (SIGNIN, &["entra.signin"]),
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
    ("cisco_duo", &["duo."]),
    ("1password", &["onepassword"]),
    ("azuread", &["entra.", "azure."]),
    ("modsecurity", &["web.", "access", "linux.", "appliances"]),
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
    ("apache", &["access", "web."]),
    ("nginx", &["access", "web."]),
    ("spring", &["access", "web."]),
];

impl LogSource {
    /// Whether all that it names, the other names too.
    pub fn covers(&self, other: &LogSource) -> bool {
        let pairs =
            [(&self.product, &other.product), (&self.service, &other.service), (&self.category, &other.category)];
        pairs.iter().all(|(ours, theirs)| ours.is_empty() || ours == theirs)
    }

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
        // A category alone, or the product `generic`, is any log: what can be said of it is said by its fields.
        if self.product == "generic" || self.product.is_empty() && self.service.is_empty() && !self.is_web() {
            return None;
        }
        let families: Vec<&str> = match self.is_signin() {
            true => vec![SIGNIN],
            false => self.families().collect(),
        };
        for product in families {
            match PROVIDERS.iter().find(|it| it.0 == product) {
                Some((_, known)) => begins.extend(*known),
                None if product == self.product => begins.push(product),
                None => {}
            }
        }
        if self.is_web() {
            begins.extend(["access", "web."]);
        }
        let mut seen: Vec<&str> = Vec::new();
        begins.retain(|it| {
            !seen.contains(it) && {
                seen.push(it);
                true
            }
        });
        // A service that we do not know, of a product that is not named.
        if begins.is_empty() {
            return None;
        }
        let provider = "event.provider".to_string();
        let mut parts: Vec<Expr> = begins.iter().map(|it| Expr::StartsWith(provider.clone(), it.to_string())).collect();
        parts.push(Expr::OneOf(provider.clone(), GENERIC.map(|it| Literal::Text(it.into())).into()));
        parts.push(Expr::Not(Box::new(Expr::Exists(provider))));
        if self.product == "linux" {
            // Sysmon for Linux writes what Sysmon writes, under a channel of its own.
            let channels = windows::places("Channel").map(|it| Expr::Eq(it.into(), Literal::Text(SYSMON_LINUX.into())));
            parts.push(Expr::Any(channels.collect()));
        }
        let mut all = vec![Expr::Any(parts)];
        if self.is_windows() {
            all.extend(windows::guard(&self.category, &self.service));
        }
        Some(if all.len() == 1 { all.remove(0) } else { Expr::All(all) })
    }

    /// The paths of records that a field's name means; the plain one first.
    pub fn paths(&self, field: &str) -> Vec<String> {
        // Collections spell "each of the list" also as search languages do.
        let written = field.replace("[*]", "[]").replace("..", "[].");
        let field = written.as_str();
        let mut paths = vec![written.clone()];
        if self.is_windows() {
            paths = windows::paths(&self.category, field);
        }
        // Splunk's way to say that there is a list.
        let listed = field.replace("{}", "[]");
        paths.extend((listed != field).then_some(listed));
        if self.is_web() {
            paths.extend(vendor::access(field).map(str::to_string));
        }
        if matches!(self.product.as_str(), "macos" | "linux") && self.category == "process_creation" {
            paths.push(format!("Event.EventData.{field}"));
        }
        for family in self.families() {
            vendor::add(family, field, &mut paths);
        }
        let through: Vec<String> = paths.iter().filter_map(|it| vendor::through_lists(it)).collect();
        paths.extend(through);
        // Whose lists we do not know may keep one where we see an object.
        if !self.is_windows() && !self.has_lists() {
            paths.extend(vendor::through_last(field));
        }
        let mut seen: Vec<String> = Vec::new();
        paths.retain(|it| {
            let new = !seen.contains(it);
            seen.push(it.clone());
            new
        });
        paths
    }

    /// Where a text may stand that a rule looks for in a field: also deep inside it, where vendors keep lists and objects there.
    pub fn places(&self, field: &str) -> Vec<String> {
        let mut paths = self.paths(field);
        if !self.is_windows() && vendor::is_container(field) {
            let inside: Vec<String> = paths.iter().map(|it| format!("{it}[..]")).collect();
            paths.extend(inside);
        }
        paths
    }

    /// Whether its records are a known vendor's, whose fields may be lists.
    pub fn has_lists(&self) -> bool {
        self.families().any(vendor::is_known)
    }

    /// The one path where records of this source have a field; where shippers differ, all of them.
    pub fn main_paths(&self, field: &str) -> Vec<String> {
        let access = vendor::access(field).filter(|_| self.is_web());
        let known = access.or_else(|| self.families().find_map(|it| vendor::main(it, field)));
        match known {
            Some(known) => vec![known.to_string()],
            None if self.is_windows() => windows::paths("", field),
            None => self.paths(field),
        }
    }

    /// What the record says in other words than the rule: Google's Reports API says `admin` where its cloud log says
    /// `admin.googleapis.com`, and the name of a log begins with whose it is there; CloudTrail has an error or none where Splunk
    /// shows a `status`, and Microsoft's portals show much that its records do not say.
    pub fn said_otherwise(&self, field: &str, values: &[String]) -> Option<Expr> {
        if self.is_azure() {
            return portal::azure(field, values);
        }
        if field == "status" && self.families().any(|it| it == "cloudtrail") {
            let is_said = Expr::Exists(field.into());
            return portal::outcome(values).map(|it| Expr::All(vec![Expr::Not(Box::new(is_said)), it]));
        }
        if self.families().any(|it| it == "gcp") && field.rsplit('.').next() == Some("logName") {
            let names = values.iter().filter(|it| !it.contains("/logs/") && !it.contains(['*', '?']));
            let ends = names.map(|it| Expr::EndsWith("logName".into(), format!("/logs/{it}")));
            let ends: Vec<Expr> = ends.map(|it| Expr::NoCase(Box::new(it))).collect();
            return (!ends.is_empty()).then_some(Expr::Any(ends));
        }
        if self.is_m365() && field == "status" {
            return portal::outcome(values);
        }
        let is_service = matches!(field, "eventService" | "protoPayload.serviceName");
        let names: Option<Vec<Literal>> =
            values.iter().map(|it| it.strip_suffix(".googleapis.com").map(|it| Literal::Text(it.into()))).collect();
        let names = names.filter(|_| is_service && self.families().any(|it| it == "google_workspace"))?;
        Some(Expr::NoCase(Box::new(Expr::OneOf("id.applicationName".into(), names))))
    }

    /// Where a field stands as an attribute that was changed, or a detail, which records keep in lists by name.
    pub fn attributes(&self, field: &str) -> Vec<String> {
        if self.is_azure() { vendor::attributes(field) } else { Vec::new() }
    }

    /// Why no event can be of this source, if that is so.
    pub fn check(&self) -> Result<(), String> {
        match self.is_windows() && windows::exclude_each_other(&self.category, &self.service) {
            true => Err(format!("no event is of `category: {}` and of `service: {}`", self.category, self.service)),
            false => Ok(()),
        }
    }

    fn is_azure(&self) -> bool {
        matches!(self.product.as_str(), "azure" | "azuread" | "entra")
    }

    fn is_signin(&self) -> bool {
        self.is_azure() && self.service == SIGNIN
    }

    fn is_m365(&self) -> bool {
        matches!(self.product.as_str(), "m365" | "microsoft365" | "o365" | "office365")
    }

    fn is_web(&self) -> bool {
        matches!(self.category.as_str(), "webserver" | "proxy")
    }

    /// The vendors whose names a field may bear: `google_workspace.admin` and `gcp.audit` have theirs before the dot.
    pub fn families(&self) -> impl Iterator<Item = &str> {
        let names = [self.product.as_str(), self.service.as_str()];
        names.into_iter().map(|it| it.split('.').next().unwrap_or(it)).filter(|it| !it.is_empty())
    }
}

/// A name with its first letter in the other case.
pub fn first_letter(name: &str, case: fn(&char) -> char) -> String {
    let mut chars = name.chars();
    chars.next().map(|it| case(&it)).into_iter().chain(chars).collect()
}
