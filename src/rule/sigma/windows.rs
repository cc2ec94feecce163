//! Windows event logs: which events a category or service means, and where shippers put an event's fields.
//!
//! The log itself is XML with a head (`System`) and data (`EventData`). Winlogbeat nests both below `winlog` and renames what ECS
//! has a name for, others keep the XML's shape, flatten it, or (Wazuh) begin every name with a small letter. A record has a
//! field in one of these places.

use super::value::any;
use crate::expr::{Expr, Literal};

/// Event ids of the categories, for records that have one; others are told by their fields.
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
    ("file_delete_detected", &[26]),
    ("clipboard_capture", &[24]),
    ("process_tampering", &[25]),
    ("file_block", &[27]),
    ("file_block_executable", &[27]),
    ("file_block_shredding", &[28]),
    ("file_executable_detected", &[29]),
    ("sysmon_error", &[255]),
    ("ps_module", &[4103]),
    ("ps_script", &[4104]),
    ("ps_classic_start", &[400]),
    ("ps_classic_provider_start", &[600]),
    ("ps_classic_script", &[800]),
];

const SYSMON: &str = "Microsoft-Windows-Sysmon/Operational";
const POWERSHELL: &[&str] = &["Microsoft-Windows-PowerShell/Operational", "PowerShellCore/Operational"];
const POWERSHELL_CLASSIC: &[&str] = &["Windows PowerShell"];

/// Channels of the services, for records that name one.
const CHANNELS: &[(&str, &[&str])] = &[
    ("security", &["Security"]),
    ("system", &["System"]),
    ("application", &["Application"]),
    ("sysmon", &[SYSMON]),
    ("powershell", POWERSHELL),
    ("powershell-classic", POWERSHELL_CLASSIC),
    ("taskscheduler", &["Microsoft-Windows-TaskScheduler/Operational"]),
    ("wmi", &["Microsoft-Windows-WMI-Activity/Operational"]),
    ("windefend", &["Microsoft-Windows-Windows Defender/Operational"]),
    ("dns-server", &["DNS Server"]),
    ("dns-client", &["Microsoft-Windows-DNS Client Events/Operational"]),
    ("dhcp", &["Microsoft-Windows-DHCP-Server/Operational"]),
    ("bits-client", &["Microsoft-Windows-Bits-Client/Operational"]),
    ("ntlm", &["Microsoft-Windows-NTLM/Operational"]),
    ("terminalservices-localsessionmanager", &["Microsoft-Windows-TerminalServices-LocalSessionManager/Operational"]),
    ("firewall-as", &["Microsoft-Windows-Windows Firewall With Advanced Security/Firewall"]),
    ("driver-framework", &["Microsoft-Windows-DriverFrameworks-UserMode/Operational"]),
    ("printservice-admin", &["Microsoft-Windows-PrintService/Admin"]),
    ("printservice-operational", &["Microsoft-Windows-PrintService/Operational"]),
    ("smbclient-security", &["Microsoft-Windows-SmbClient/Security"]),
    ("smbclient-connectivity", &["Microsoft-Windows-SmbClient/Connectivity"]),
    ("smbserver-connectivity", &["Microsoft-Windows-SMBServer/Connectivity"]),
    (
        "applocker",
        &[
            "Microsoft-Windows-AppLocker/MSI and Script",
            "Microsoft-Windows-AppLocker/EXE and DLL",
            "Microsoft-Windows-AppLocker/Packaged app-Deployment",
            "Microsoft-Windows-AppLocker/Packaged app-Execution",
        ],
    ),
    ("codeintegrity-operational", &["Microsoft-Windows-CodeIntegrity/Operational"]),
    ("msexchange-management", &["MSExchange Management"]),
    ("microsoft-servicebus-client", &["Microsoft-ServiceBus-Client"]),
    ("ldap", &["Microsoft-Windows-LDAP-Client/Debug"]),
    ("ldap_debug", &["Microsoft-Windows-LDAP-Client/Debug"]),
    (
        "security-mitigations",
        &[
            "Microsoft-Windows-Security-Mitigations",
            "Microsoft-Windows-Security-Mitigations/Kernel Mode",
            "Microsoft-Windows-Security-Mitigations/User Mode",
        ],
    ),
    ("diagnosis-scripted", &["Microsoft-Windows-Diagnosis-Scripted/Operational"]),
    ("shell-core", &["Microsoft-Windows-Shell-Core/Operational"]),
    ("openssh", &["OpenSSH/Operational"]),
    ("bitlocker", &["Microsoft-Windows-BitLocker/BitLocker Management"]),
    ("vhdmp", &["Microsoft-Windows-VHDMP/Operational"]),
    ("appxdeployment-server", &["Microsoft-Windows-AppXDeploymentServer/Operational"]),
    ("appxpackaging-om", &["Microsoft-Windows-AppxPackaging/Operational"]),
    ("appmodel-runtime", &["Microsoft-Windows-AppModel-Runtime/Admin"]),
    ("lsa-server", &["Microsoft-Windows-LSA/Operational"]),
    ("capi2", &["Microsoft-Windows-CAPI2/Operational"]),
];

/// Fields of the head of an event: not among its data.
const HEAD: &[(&str, &[&str])] = &[
    (
        "EventID",
        &[
            "EventID",
            "winlog.event_id",
            "Event.System.EventID",
            "Event.System.EventID.#text",
            "data.win.system.eventID",
            "EventId",
            "event_id",
        ],
    ),
    ("Channel", &["Channel", "winlog.channel", "Event.System.Channel", "data.win.system.channel"]),
    (
        "Provider_Name",
        &[
            "Provider_Name",
            "winlog.provider_name",
            "Event.System.Provider.#attributes.Name",
            "Event.System.Provider_Name",
            "data.win.system.providerName",
            "ProviderName",
            "SourceName",
        ],
    ),
    ("ComputerName", COMPUTER),
    ("Computer", COMPUTER),
    ("Level", &["Level", "winlog.level", "Event.System.Level", "data.win.system.level"]),
    ("Keywords", &["Keywords", "winlog.keywords", "Event.System.Keywords", "data.win.system.keywords"]),
    ("Task", &["Task", "winlog.task", "Event.System.Task", "data.win.system.task"]),
];

const COMPUTER: &[&str] = &[
    "Computer",
    "ComputerName",
    "winlog.computer_name",
    "Event.System.Computer",
    "data.win.system.computer",
    "Hostname",
];

/// What the security log calls what Sysmon calls otherwise.
const PROCESS_4688: &[(&str, &str)] = &[
    ("Image", "NewProcessName"),
    ("ParentImage", "ParentProcessName"),
    ("IntegrityLevel", "MandatoryLabel"),
    ("LogonId", "SubjectLogonId"),
    ("User", "SubjectUserName"),
];

/// What ECS calls what Sysmon and PowerShell log; shippers that follow it leave the original out.
const ECS: &[(&str, &str)] = &[
    ("Image", "process.executable"),
    ("CommandLine", "process.command_line"),
    ("CurrentDirectory", "process.working_directory"),
    ("OriginalFileName", "process.pe.original_file_name"),
    ("ParentImage", "process.parent.executable"),
    ("ParentCommandLine", "process.parent.command_line"),
    ("TargetFilename", "file.path"),
    ("TargetObject", "registry.path"),
    ("QueryName", "dns.question.name"),
    ("DestinationIp", "destination.ip"),
    ("DestinationPort", "destination.port"),
    ("DestinationHostname", "destination.domain"),
    ("ScriptBlockText", "powershell.file.script_block_text"),
];

/// Which events a category or service means, as far as a record says what it is.
pub fn guard(category: &str, service: &str) -> Vec<Expr> {
    let unless_absent = |field: &str, test: &dyn Fn(String) -> Expr| {
        let paths: Vec<String> = head(field).into_iter().flatten().map(|it| it.to_string()).collect();
        let absent = Expr::Not(Box::new(any(paths.iter().map(|it| Expr::Exists(it.clone())))));
        any(paths.iter().cloned().map(test).chain([absent]))
    };
    let mut all = Vec::new();
    let ids = CATEGORIES.iter().find(|it| it.0 == category).map_or(&[][..], |it| it.1);
    if !ids.is_empty() {
        let ids: Vec<Literal> = ids.iter().map(|it| Literal::Int(*it)).collect();
        all.push(unless_absent("EventID", &|path| Expr::OneOf(path, ids.clone())));
    }
    let named = CHANNELS.iter().find(|it| it.0 == service).map_or(&[][..], |it| it.1);
    let mut channels = named.to_vec();
    if channels.is_empty() {
        // Numbers of events mean something only in their channel.
        ids.iter().for_each(|it| channels.extend(channels_of(*it)));
        channels.sort_unstable();
        channels.dedup();
    }
    if !channels.is_empty() {
        let names: Vec<Literal> = channels.iter().map(|it| Literal::Text(it.to_string())).collect();
        let test = |path: String| Expr::NoCase(Box::new(Expr::OneOf(path, names.clone())));
        all.push(unless_absent("Channel", &test));
    }
    all
}

/// Whether no event of the category is in a channel of the service.
pub fn exclude_each_other(category: &str, service: &str) -> bool {
    let ids = CATEGORIES.iter().find(|it| it.0 == category).map_or(&[][..], |it| it.1);
    let named = CHANNELS.iter().find(|it| it.0 == service).map_or(&[][..], |it| it.1);
    !ids.is_empty() && !named.is_empty() && !ids.iter().flat_map(|it| channels_of(*it)).any(|it| named.contains(it))
}

fn channels_of(id: i64) -> &'static [&'static str] {
    match id {
        400 | 600 | 800 => POWERSHELL_CLASSIC,
        4103 | 4104 => POWERSHELL,
        4688 | 5156 => &["Security"],
        _ => &[SYSMON],
    }
}

/// The places of records where a field may stand.
pub fn paths(category: &str, field: &str) -> Vec<String> {
    if let Some(known) = head(field) {
        return known.iter().map(|it| it.to_string()).collect();
    }
    let mut names = vec![field];
    if category == "process_creation" {
        names.extend(PROCESS_4688.iter().filter(|it| it.0 == field).map(|it| it.1));
    }
    let mut paths = Vec::new();
    for name in names {
        for below in ["", "winlog.event_data.", "Event.EventData.", "EventData."] {
            paths.push(format!("{below}{name}"));
        }
        paths.push(format!("data.win.eventdata.{}", super::source::first_letter(name, char::to_ascii_lowercase)));
    }
    paths.extend(ECS.iter().filter(|it| it.0 == field).map(|it| it.1.to_string()));
    paths
}

/// The places of records where a field of the head stands.
pub fn places(field: &str) -> impl Iterator<Item = &'static str> {
    head(field).into_iter().flatten().copied()
}

fn head(field: &str) -> Option<&'static [&'static str]> {
    HEAD.iter().find(|it| it.0 == field).map(|it| it.1)
}
